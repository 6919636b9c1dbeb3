"""Pages by cursor: the next page begins after the last row that was seen, so it costs the same at any depth and stays
right while rows come and go (https://use-the-index-luke.com/no-offset)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from django.http import QueryDict
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from .exceptions import FieldError, Invalid

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class HasId(Protocol):
    id: Any


Row = TypeVar("Row", bound=HasId)


@dataclass(frozen=True)
class Order:
    """By one field, then by id, so that no two rows are equal.

    `index` are the rows of a table beside it, which say in the same order which images there are (`ImageTag`).
    """

    field: str
    descending: bool
    index: QuerySet[Any] | None = None

    def reversed(self) -> "Order":
        return replace(self, descending=not self.descending)

    def read(self, queryset: QuerySet[Any, Row], after: list[str] | None, count: int) -> list[Row]:
        if self.index is None:
            return list(self._first(queryset, "id", after, count))
        ids = self._first(self.index, "image", after, count).values("image")
        return list(self._first(queryset.filter(id__in=ids), "id", None, count))

    def _first(
        self, rows: QuerySet[Any, Row], key: str, after: list[str] | None, count: int
    ) -> QuerySet[Any, Row]:
        if after:
            lookup = TupleLessThan if self.descending else TupleGreaterThan
            rows = rows.filter(lookup(Tuple(self.field, key), after))
        sign = "-" if self.descending else ""
        return rows.order_by(f"{sign}{self.field}", f"{sign}{key}")[:count]


Orders = Mapping[str, Order]  # by their names in the address; the first is the default


def orders(*names: str, index: QuerySet[Any] | None = None) -> Orders:
    """`date` goes up and `-date` down."""
    return {name: Order(name.removeprefix("-"), name.startswith("-"), index) for name in names}


@dataclass(frozen=True)
class Cursor:
    """The row that the page begins after, and whether it goes back from there."""

    order: str
    back: bool
    position: list[str]

    @classmethod
    def at(cls, row: HasId, order: str, *, back: bool) -> "Cursor":
        value = getattr(row, order.removeprefix("-"))
        text = value.isoformat() if isinstance(value, datetime) else str(value)
        return cls(order, back, [text, str(row.id)])

    def encode(self) -> str:
        text = json.dumps([self.order, self.back, self.position], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        padded = text + "=" * (-len(text) % 4)
        order, back, (value, key) = json.loads(base64.urlsafe_b64decode(padded.encode()))
        return cls(str(order), bool(back), [str(value), str(key)])


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, and the cursors of the pages beside it, where there are any."""

    rows: list[Row]
    next: str | None
    previous: str | None


def paginate(
    queryset: QuerySet[Any, Row], parameters: Mapping[str, str], *, orders: Orders
) -> Page[Row]:
    """The page that `limit`, `cursor` and `order` ask for. Raises Invalid."""
    limit = _limit(parameters)
    order_name = _order(parameters, orders)
    cursor = _cursor(parameters, order_name)
    back = bool(cursor and cursor.back)
    rows = _rows(queryset, orders[order_name], cursor, limit + 1)
    more = len(rows) > limit
    rows = rows[:limit][:: -1 if back else 1]

    def beside(row: Row, *, back: bool) -> str:
        return Cursor.at(row, order_name, back=back).encode()

    return Page(
        rows,
        next=beside(rows[-1], back=False) if rows and (more or back) else None,
        previous=beside(rows[0], back=True) if rows and (more if back else cursor) else None,
    )


def _rows(
    queryset: QuerySet[Any, Row], order: Order, cursor: Cursor | None, count: int
) -> list[Row]:
    if cursor and cursor.back:
        order = order.reversed()
    try:
        return order.read(queryset, cursor.position if cursor else None, count)
    except (ValidationError, ValueError, DataError) as error:
        raise _invalid("cursor") from error


class CursorPages(BasePagination):
    """`{next, previous, results}` and RFC 8288 `Link`. The view tells its orders: `orders(parameters)`."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        parameters = request.query_params
        page = paginate(queryset, parameters, orders=view.orders(parameters))
        self.first = remove_query_param(request.build_absolute_uri(), "cursor")
        self.next = self._address(page.next)
        self.previous = self._address(page.previous)
        return page.rows

    def _address(self, cursor: str | None) -> str | None:
        return replace_query_param(self.first, "cursor", cursor) if cursor else None

    def get_paginated_response(self, data: list[Any]) -> Response:
        neighbours = {"first": self.first, "next": self.next, "prev": self.previous}
        link = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in neighbours.items() if url)
        body = {"next": self.next, "previous": self.previous, "results": data}
        return Response(body, headers={"Link": link})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": address, "previous": address, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        orders = list(view.orders(QueryDict()))
        schemas = {
            "limit": limit,
            "cursor": {"type": "string"},
            "order": {"type": "string", "enum": orders, "default": orders[0]},
        }
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in schemas.items()
        ]


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit") or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise _invalid("limit", f"A number from 1 to {MAX_LIMIT}.")
    return int(text)


def _order(parameters: Mapping[str, str], orders: Orders) -> str:
    order = parameters.get("order") or next(iter(orders))
    if order not in orders:
        raise _invalid("order", f"One of {', '.join(orders)}.")
    return order


def _cursor(parameters: Mapping[str, str], order_name: str) -> Cursor | None:
    """The cursor of this request. It belongs to one order."""
    if not (text := parameters.get("cursor")):
        return None
    try:
        cursor = Cursor.decode(text)
    except (ValueError, TypeError) as error:
        raise _invalid("cursor") from error
    if cursor.order != order_name:
        raise _invalid("cursor", "It belongs to another order.")
    return cursor


def _invalid(parameter: str, detail: str = "Not an answer of this service.") -> Invalid:
    return Invalid(errors=[FieldError(f"/{parameter}", "invalid", detail)])
