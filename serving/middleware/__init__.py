"""Security middleware: body limits, API keys, rate limits, error responses, request logs."""
