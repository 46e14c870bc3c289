"""Examples of requests and responses in the OpenAPI document."""

from __future__ import annotations

from serving.bundle.interval import LEVEL

TEXT = "Item Name: Blackberry Jam, 9 oz (Pack of 6)\nBullet Point 1: No added sugar\nValue: 54.0\nUnit: Ounce\n"
URL = "https://images.example.com/jam.jpg"
_ID = "5c0f3b1e9a7d4c2f8b6e1d3a9f7c5b20"
_VERSION = "3-0a1b2c3d4e5f"
PRICE = {
    "id": _ID,
    "predicted_price": 27.4,
    "interval": {"low": 15.1, "high": 49.8, "level": LEVEL, "coverage": 0.801},
    "model_version": _VERSION,
    "members": ["boosted-9244d30f0e03", "text-28f84790c980"],
    "level": "stack",
    "fallback": False,
    "cached": False,
    "picture": "not had",
    "note": "this service fetches no image URLs",
}
REQUEST = {"catalog_content": TEXT, "image_url": URL}
BATCH_REQUEST = {"rows": [{"catalog_content": TEXT}, {"catalog_content": "Item Name: Black Tea, 100 Bags"}]}
BATCH = {
    "results": [{**PRICE, "id": f"{_ID}:0"}, {"error": "catalog_content: Input should be a valid string"}],
    "priced": 1,
    "failed": 1,
}
EXPLANATION = {
    "predicted_price": 27.4,
    "fields": {"kind": "jam", "pack": 6.0, "total_g": 1530.9},
    "pieces": [
        {"text": "Item Name: Blackberry Jam, 9 oz (Pack of 6)", "change": 41.2},
        {"text": "Bullet Point 1: No added sugar", "change": -2.3},
    ],
}
OUTCOMES_REQUEST = {"outcomes": [{"id": _ID, "price": 24.99}]}
OUTCOMES = {
    "known": 2,
    "unknown": 1,
    "repeated": 0,
    "failed": 1,
    "errors": [{"row": 3, "error": "price: Input should be greater than 0"}],
    "smape": 33.9,
    "standard_error": 1.2,
    "coverage": 0.79,
    "rows": 412,
}
NEWEST: dict[str, str] = {}
OLDER = {"bundle": "shop-2-5b6c7d8e9f00"}
VERSION = {
    "name": "shop",
    "version": _VERSION,
    "nested_smape": 34.61,
    "coverage": 0.801,
    "members": PRICE["members"],
    "code": {"core": "4", "features": "2"},
    "previous": ["shop-2-5b6c7d8e9f00"],
}
STATE = {"status": "ready"}
DRIFT = {
    "rows": 500,
    "figures": [{"what": "length", "measure": "ks", "value": 0.31, "limit": 0.2, "drifted": True}],
}
UNFIT = {
    "title": "Unprocessable Entity",
    "status": 422,
    "request_id": _ID,
    "detail": "the request does not fit the schema in 1 place",
    "errors": [{"loc": ["body", "catalog_content"], "msg": "Field required", "type": "missing"}],
}
LATER = {"title": "Too Many Requests", "status": 429, "request_id": _ID, "detail": "try again in 3 s"}
