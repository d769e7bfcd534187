"""The HTTP service: FastAPI application, access, limits, audit, metrics, MCP and the page."""
