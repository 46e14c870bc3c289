"""Request limits, input checks, safe image fetching and redaction: shared by the middleware, monitoring and the engine."""
