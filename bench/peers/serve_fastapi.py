"""FastAPI: each request waits in a list, and whoever has the event loop next scores all that wait."""

import asyncio
import os
from typing import Any

import workloads
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

MOST = int(os.environ["BATCH"])

app = FastAPI()
model = workloads.MODELS[os.environ["WORKLOAD"]]()
waiting: list[tuple[Any, asyncio.Future[JSONResponse]]] = []


class Question(BaseModel):
    question: str


@app.post("/faq")
async def faq(asked: Question) -> JSONResponse:
    return await scored(asked.question)


@app.post("/image")
async def image(request: Request) -> JSONResponse:
    return await scored(await request.body())


async def scored(item: str | bytes) -> JSONResponse:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[JSONResponse] = loop.create_future()
    waiting.append((item, answer))
    if len(waiting) == 1:
        loop.call_soon(score_waiting)
    return await answer


def score_waiting() -> None:
    batch = waiting[:MOST]
    del waiting[:MOST]
    if waiting:
        asyncio.get_running_loop().call_soon(score_waiting)
    results = model.score_batch([item for item, _ in batch])
    for (_, answer), result in zip(batch, results, strict=True):
        if not answer.cancelled():
            answer.set_result(JSONResponse(workloads.as_object(result)))
