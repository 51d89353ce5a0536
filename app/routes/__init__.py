"""HTTP: each route declares, delegates to a service, returns."""
