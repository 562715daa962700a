"""The description of the HTTP API of `avsep serve`, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from avsep import __version__

_JOB = {"name": "job", "in": "path", "required": True, "schema": {"type": "string"}}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "Name of a file, as `facts.files` lists them, or speaker<n>.png, a spectrogram.",
}


def _ref(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _problems(**described: str) -> dict[str, Any]:
    described["401"] = "The token is missing or wrong."
    return {
        code.removeprefix("_"): {"description": text, "content": _ref("Problem")}
        for code, text in described.items()
    }


def describe(max_bytes: int) -> dict[str, Any]:
    """The document, for uploads of at most `max_bytes`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "avsep",
            "version": __version__,
            "description": "Separate the voices of the faces in a video, one video at a time.",
        },
        "security": [{"token": []}],
        "paths": {
            "/about": {
                "get": {
                    "operationId": "about",
                    "summary": "The model and the limits.",
                    "responses": {
                        "200": {"description": "The model.", "content": _ref("About")},
                        **_problems(),
                    },
                }
            },
            "/jobs": {
                "post": {
                    "operationId": "upload",
                    "summary": "Send a video; it is queued.",
                    "parameters": [
                        {
                            "name": "name",
                            "in": "query",
                            "required": True,
                            "schema": {"type": "string"},
                            "description": "Name of the file; its ending must be known.",
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "description": f"The bytes of the video, at most {max_bytes}.",
                        "content": {"application/octet-stream": {}},
                    },
                    "responses": {
                        "201": {"description": "It is queued.", "content": _ref("Queued")},
                        **_problems(
                            _400="The upload was interrupted.",
                            _413="It is too large.",
                            _415="Its name is not that of a video.",
                            _429="Too many videos are waiting.",
                            _500="It cannot be written.",
                            _507="The disk is full.",
                        ),
                    },
                }
            },
            "/jobs/{job}": {
                "get": {
                    "operationId": "status",
                    "summary": "How far a video is; ask until `state` is done or failed.",
                    "parameters": [_JOB],
                    "responses": {
                        "200": {"description": "The video.", "content": _ref("Job")},
                        **_problems(_404="There is none, or no longer."),
                    },
                },
                "delete": {
                    "operationId": "remove",
                    "summary": "End the work on a video and remove its files.",
                    "parameters": [_JOB],
                    "responses": {
                        "204": {"description": "It is gone."},
                        **_problems(_404="There is none, or no longer."),
                    },
                },
            },
            "/jobs/{job}/{name}": {
                "get": {
                    "operationId": "result",
                    "summary": "A file of the result.",
                    "parameters": [_JOB, _NAME],
                    "responses": {
                        "200": {"description": "The file.", "content": {"*/*": {}}},
                        **_problems(_404="There is none, or no longer."),
                    },
                }
            },
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This document; needs no token.",
                    "security": [],
                    "responses": {
                        "200": {"description": "OpenAPI.", "content": {"application/json": {}}}
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _object(message="string"),
                "Queued": _object(job="string"),
                "About": _object(
                    model="string",
                    note="string",
                    max_bytes="integer",
                    suffixes="array",
                    keep_s="number",
                    silent_after_s="number",
                ),
                "Job": _object(
                    state="string",
                    title="string",
                    step="string",
                    done="integer",
                    total="integer",
                    share="number",
                    left_s=["integer", "null"],
                    message="string",
                    facts="object",
                    ahead="integer",
                ),
            },
        },
    }


def _object(**fields: str | list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: {"type": kind} | ({"items": {}} if kind == "array" else {})
        for name, kind in fields.items()
    }
    return {"type": "object", "required": list(fields), "properties": properties}
