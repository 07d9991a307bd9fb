"""The command-line tools. Each module is also a script: it parses arguments and calls one function of ``lib``."""
