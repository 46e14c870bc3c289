"""HTTP side of the service: routes, schemas, OpenAPI document, web page."""
