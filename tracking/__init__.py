"""The commands. Each module is a script too: it parses arguments and calls one function of ``lib``."""
