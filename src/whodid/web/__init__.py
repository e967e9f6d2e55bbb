"""The web side: the only code that knows HTTP. Takes requests apart, asks the service, puts answers together."""
