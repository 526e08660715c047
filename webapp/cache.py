from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

from webapp import metrics

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")


class ForgivingRedisCache(RedisCache):
    """A cache that forgets while Redis is away, instead of failing: people sign in all the same, with a warning logged.

    `add` then says that it has added: to whom it serves as a lock or a first time, each one is the first.
    """

    def add(self, *args: Any, **options: Any) -> bool:
        return self._forgiving(super().add, True, *args, **options)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._forgiving(super().get, default, key, default, version)

    def set(self, *args: Any, **options: Any) -> None:
        self._forgiving(super().set, None, *args, **options)

    def touch(self, *args: Any, **options: Any) -> bool:
        return self._forgiving(super().touch, False, *args, **options)

    def delete(self, *args: Any, **options: Any) -> bool:
        return self._forgiving(super().delete, False, *args, **options)

    def has_key(self, *args: Any, **options: Any) -> bool:
        return self._forgiving(super().has_key, False, *args, **options)

    def get_many(self, *args: Any, **options: Any) -> dict[Any, Any]:
        return self._forgiving(super().get_many, {}, *args, **options)

    def _forgiving(self, call: Callable[..., Answer], otherwise: Answer, *args: Any, **options: Any) -> Answer:
        try:
            return call(*args, **options)
        except RedisError as error:
            log.warning("cache_unavailable", error=str(error))
            metrics.cache_errors.inc()
            return otherwise
