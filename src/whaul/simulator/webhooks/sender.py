"""Delivers webhooks: to each app that wants them, and again until the receiver answers 200, for seven days at most.

A delivery is one webhook to one app, with all its attempts. Waits go by the simulator's clock, so that `advance` ends
them. Methods may be called from any thread; the requests are made on the simulator's event loop.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import accumulate
from ssl import SSLContext
from typing import Any

import aiohttp

from whaul.simulator.delivery import Pauses
from whaul.simulator.state import State
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.webhooks.deliveries import Attempt, Delivery, Webhook
from whaul.simulator.webhooks.envelope import concerns, encoded, renewed, webhook
from whaul.simulator.webhooks.faults import AnyWireFault
from whaul.simulator.webhooks.post import post, verify

MAX_CONCURRENT = 32
"""POSTs to one URL at a time."""
MAX_FINISHED = 10_000
MAX_FINISHED_BYTES = 64 * 1024 * 1024
"""What is kept of deliveries that are over; the oldest go first."""


class Webhooks:
    """Every webhook of the simulated world goes out here."""

    def __init__(
        self, state: State, pauses: Pauses, tls: SSLContext | None, on_attempt: Callable[[Delivery], None] | None
    ) -> None:
        self._state = state
        self._pauses = pauses
        self._tls = tls
        self._on_attempt = on_attempt
        self._deliveries: dict[str, Delivery] = {}
        self._tasks: dict[Delivery, asyncio.Task[None]] = {}
        self._chains: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_CONCURRENT))
        """For each URL: a receiver that is slow delays no other."""
        self._due: dict[object, float] = {}
        """When those wake up that wait, deliveries for their next attempt, by the clock of the pauses."""
        self._finished: deque[tuple[Delivery, int]] = deque()
        self._finished_bytes = 0
        self.is_paused = False
        """Whether nothing is sent."""
        self._open, self._idle = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._idle.set()
        self._busy = 0

    async def start(self) -> None:
        """Begin to send; what is due already goes first."""
        self._loop = asyncio.get_running_loop()
        # A connection for each POST: none fails because the receiver has closed it meanwhile.
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._tls or True)
        self._session = aiohttp.ClientSession(connector=connector)
        for delivery in self.deliveries:
            self._start(delivery)

    async def stop(self) -> None:
        """End all attempts."""
        self._loop = None
        running = [*self._tasks.values(), *self._chains, *self._timers]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries, oldest first; of those that are over, the last 10,000."""
        return list(self._deliveries.values())

    def get(self, delivery_id: str) -> Delivery:
        """A delivery by its id; raises `MissingError`."""
        if delivery_id not in self._deliveries:
            raise MissingError(f"There is no delivery {delivery_id}.")
        return self._deliveries[delivery_id]

    def emit(self, waba_id: str, name: str, value: Mapping[str, Any]) -> Webhook:
        """Tell every app that wants the field: the one way by which webhooks of this world come to be."""
        content = webhook(waba_id, name, [value], self._state.now())
        return Webhook(content, self.deliver(content))

    def deliver(
        self,
        content: Mapping[str, Any] | bytes,
        *,
        app_id: str | None = None,
        fault: AnyWireFault | None = None,
        copies: int = 1,
        new_urls: bool = False,
    ) -> list[Delivery]:
        """Post a whole body, which its first change says the receivers of, to all of them or one app.

        `new_urls`: each further copy has other download URLs, as Meta's own repetitions.
        """
        name, number_id, is_sample = concerns(content)
        first = content if isinstance(content, bytes) else encoded(content)
        made: list[Delivery] = []
        for app in self._state.apps:
            target = app.of_sample() if is_sample else app.target(name, number_id)
            if target is None or app_id not in {None, app.id}:
                continue
            for copy in range(copies):
                body = renewed(self._state, first, copy) if new_urls and copy else first
                now = self._state.now()
                self._last_id += 1
                delivery = Delivery(str(self._last_id), app, *target, name, body, fault, now, now, together=made)
                made.append(delivery)
        for delivery in made:
            self._deliveries[delivery.id] = delivery
            self._on_loop(self._start, delivery)
        return made

    def redeliver(self, delivery_id: str) -> Delivery:
        """Post a delivery now, whether it is due, delivered or dropped; its seven days begin again."""
        delivery = self.get(delivery_id)
        if delivery.state != "sending":
            delivery.state, delivery.due_at = "due", self._state.now()
            if delivery.answered.done():
                delivery.answered = Future()
            self._on_loop(self._start, delivery)
        return delivery

    def pause(self) -> None:
        """Send nothing until `resume`; what is due waits."""
        self.is_paused = True
        self._on_loop(self._turn)

    def resume(self) -> None:
        """Send again."""
        self.is_paused = False
        self._on_loop(self._turn)

    def clear(self) -> None:
        """Forget all deliveries; what is due is never sent."""
        forgotten, self._deliveries = self.deliveries, {}
        self._finished, self._finished_bytes = deque(), 0
        for delivery in forgotten:
            delivery.state, delivery.due_at = "dropped", None
        self._on_loop(self._forget, forgotten)

    def reset(self) -> None:
        """Forget all deliveries, and send."""
        self.clear()
        self.resume()

    async def settled(self) -> None:
        """Wait until nothing is being sent, and nothing could be sent now."""
        while not self.is_paused and (self._busy or self._has_due()):
            await (self._idle.wait() if self._busy else asyncio.sleep(0))  # what is due wakes up by itself

    def _has_due(self) -> bool:
        now = self._pauses.now()
        return any(end <= now for end in self._due.values())

    async def answered(self, deliveries: Iterable[Delivery]) -> None:
        """Wait until the attempt that each is due for has been made."""
        for delivery in deliveries:
            await asyncio.shield(asyncio.wrap_future(delivery.answered))

    async def verify(self, url: str, token: str) -> None:
        """Ask a URL whether it wants webhooks; raises `VerificationError`."""
        if self._session is None:
            raise BadValueError("The simulator has not started.")
        await verify(self._session, url, token, self._state.settings.webhook_timeout)

    def in_turn(self, steps: Iterable[Callable[[], Webhook]]) -> None:
        """Emit one webhook after the other, each when the first attempts of the one before are over."""
        task = self._spawn(self._run_chain(steps))
        self._chains.add(task)
        task.add_done_callback(self._chains.discard)

    def later(self, at: float, step: Callable[[], object]) -> None:
        """Take a step when it is `at`, a Unix time of this world."""
        self._on_loop(self._start_timer, at, step)

    def _on_loop(self, run: Callable[..., object], *arguments: Any) -> None:
        """Run something there: at once if that is where we are. Before the start there is nothing to run beside."""
        if self._loop is None or self._loop is _running_loop():
            run(*arguments)
        else:
            with suppress(RuntimeError):  # the loop has just ended, and all deliveries with it
                self._loop.call_soon_threadsafe(run, *arguments)

    def _turn(self) -> None:
        """Follow `is_paused`."""
        if self.is_paused:
            self._open.clear()
            self._idle.set()  # who waits for it looks at the pause
        else:
            self._open.set()
            self._is_busy(0)

    def _forget(self, forgotten: list[Delivery]) -> None:
        for task in [*self._chains, *(self._tasks.pop(delivery) for delivery in forgotten if delivery in self._tasks)]:
            task.cancel()
        for delivery in forgotten:
            _finish(delivery.answered)

    def _start_timer(self, at: float, step: Callable[[], object]) -> None:
        if self._loop is None:
            return
        task = self._spawn(self._run_later(at, step))
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    async def _run_later(self, at: float, step: Callable[[], object]) -> None:
        while (left := at - self._state.now()) > 0:  # not once: the clock may have been told to stand still
            await self._wait(step, self._pauses.now() + left)
        step()

    def _start(self, delivery: Delivery) -> None:
        if self._loop is None or delivery.state != "due" or self._deliveries.get(delivery.id) is not delivery:
            return
        if waiting := self._tasks.pop(delivery, None):
            waiting.cancel()
        task = self._tasks[delivery] = self._spawn(self._deliver(delivery))
        task.add_done_callback(partial(self._ended, delivery))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._is_busy(1)
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._is_busy(-1))
        return task

    def _is_busy(self, change: int) -> None:
        self._busy += change
        if self._busy:
            self._idle.clear()
        else:
            self._idle.set()

    async def _run_chain(self, steps: Iterable[Callable[[], Webhook]]) -> None:
        for step in steps:
            await self.answered(step().deliveries)

    async def _deliver(self, delivery: Delivery) -> None:
        fault, settings = delivery.fault, self._state.settings
        is_once = fault is not None and fault.attempts is None
        delays = [0.0] if is_once else accumulate(settings.webhook_retry_delays, initial=0.0)
        begun, begun_at = self._pauses.now(), self._state.now()
        for number, delay in enumerate(delays):
            delivery.due_at = begun_at + delay
            if number:
                await self._wait(delivery, begun + delay)
                self._repeat(delivery)
            async with self._slots[delivery.url]:
                await self._rest(self._open.wait())
                hits = fault is not None and (is_once or len(delivery.attempts) < (fault.attempts or 0))
                await self._attempt(delivery, fault if hits else None)
            if delivery.state == "delivered":
                break

    def _repeat(self, delivery: Delivery) -> None:
        """Meta tries again with all apps, those that have answered 200, too."""
        for other in delivery.together:
            if other.app is not delivery.app and other.state == "delivered" and other.id in self._deliveries:
                self.redeliver(other.id)

    def _ended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        if self._tasks.get(delivery) is not task:
            return  # another has taken over, or the delivery is forgotten
        del self._tasks[delivery]
        if task.cancelled():  # the simulator stops
            delivery.state = "due"
        else:
            if delivery.state != "delivered":
                delivery.state = "dropped"
            delivery.due_at = None
            self._retire(delivery)
        _finish(delivery.answered)

    async def _wait(self, who: object, end: float) -> None:
        self._due[who] = end
        try:
            await self._rest(self._pauses.until(end))
        finally:
            self._due.pop(who, None)

    async def _rest(self, wait: Coroutine[Any, Any, object]) -> None:
        """Wait, and count as idle meanwhile."""
        self._is_busy(-1)
        try:
            await wait
        finally:
            self._is_busy(1)

    async def _attempt(self, delivery: Delivery, fault: AnyWireFault | None) -> None:
        assert self._session is not None  # noqa: S101 - attempts end before the session does
        delivery.state, loop = "sending", asyncio.get_running_loop()
        if delivery.attempts:
            delivery.body = renewed(self._state, delivery.body, len(delivery.attempts))
        at, begun = self._state.now(), loop.time()
        answer = await post(
            self._session,
            delivery.url,
            delivery.body,
            delivery.app.secret,
            fault=fault,
            wait=self._pass,
            timeout=self._state.settings.webhook_timeout,
        )
        self._note(delivery, Attempt(at, round(loop.time() - begun, 4), answer.status, answer.body, answer.error))

    async def _pass(self, seconds: float) -> None:
        await self._pauses.until(self._pauses.now() + seconds)

    def _note(self, delivery: Delivery, attempt: Attempt) -> None:
        delivery.attempts.append(attempt)
        delivery.state = "delivered" if attempt.status == 200 else "due"
        if self._on_attempt is not None:
            self._on_attempt(delivery)
        _finish(delivery.answered)

    def _retire(self, delivery: Delivery) -> None:
        """Keep what is over, within bounds."""
        self._finished.append((delivery, len(delivery.body)))
        self._finished_bytes += len(delivery.body)
        while len(self._finished) > MAX_FINISHED or self._finished_bytes > MAX_FINISHED_BYTES:
            oldest, size = self._finished.popleft()
            self._finished_bytes -= size
            if oldest.state not in {"due", "sending"}:
                self._deliveries.pop(oldest.id, None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _finish(future: "Future[None]") -> None:
    if not future.done():
        future.set_result(None)
