"""The operators' page: Swagger UI from our own files, because a factory has no internet."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

STATIC = Path(__file__).resolve().parent.parent / "static" / "swagger-ui"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Paretofleet</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript",
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def page() -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def _asset_route(name: str, media_type: str) -> None:
    async def asset() -> Response:
        return FileResponse(STATIC / name, media_type=media_type)

    router.add_api_route(f"/docs/assets/{name}", asset, methods=["GET"], response_model=None)


for _name, _media_type in ASSETS.items():
    _asset_route(_name, _media_type)
