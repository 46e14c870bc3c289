"""The service's HTTP side: routes, schemas, the page."""
