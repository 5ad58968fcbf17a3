#!/usr/bin/env python3
"""Writes histories.json: random calls through the breakers of a discrete-event model, with what the
model decided. Usage: generate.py path/to/sim.py > histories.json

All times are whole milliseconds. They lie on a grid of GRID, which a binary fraction of a second
represents exactly, so that the model (seconds as floats) and the breaker (whole nanoseconds) agree on
what is early and what is late."""
import heapq
import importlib.util
import json
import random
import sys

GRID = 125  # 1/8 s
HISTORIES = 40  # for each kind
STEPS = 60


class Clock:
    """What the model's breaker needs of its simulation: the time, and calls at later times."""

    def __init__(self):
        self.t, self.events, self.number = 0.0, [], 0

    def at(self, time, call, *arguments):
        self.number += 1
        heapq.heappush(self.events, (time, self.number, call, arguments))

    def advance(self, time):
        while self.events and self.events[0][0] <= time:
            self.t, _, call, arguments = heapq.heappop(self.events)
            call(*arguments)
        self.t = time


class Circuit:
    """A breaker of the model: hystrix, r4j_count, r4j_time, polly or consecutive."""

    def __init__(self, sim, settings):
        self.clock = Clock()
        seconds = {k: v / 1000 if k in TIMES and v is not None else v for k, v in settings.items()}
        if settings["kind"] == "r4j_count":
            seconds["window"] = settings["window"]
        self.breaker = sim.Breaker(self.clock, seconds)

    def allow(self):
        return self.breaker.allow()

    def record(self, ok, duration):
        self.breaker.record(ok, duration)

    def state(self):
        return {"half": "half_open"}.get(self.breaker.state, self.breaker.state)


class Endpoint:
    """One endpoint under the model's outlier detection."""

    def __init__(self, sim, settings):
        self.sim, self.clock = sim, Clock()
        self.consec, self.ejected_until, self.nej = 0, 0.0, 0
        self.clock.ep_pay = [self]
        detection = dict(consecutive=settings["consecutive"], base=settings["sleep"] / 1000, max_pct=100)
        self.clock.cfg = dict(outlier=detection)
        # The model appends what happened to `events`; the queue of this clock stays empty.
        self.clock.events = []

    def allow(self):
        return self.ejected_until <= self.clock.t

    def record(self, ok, duration):
        self.sim.Sim.outlier(self.clock, self, ok)
        self.clock.events.clear()

    def state(self):
        return "closed" if self.allow() else "open"


TIMES = ("window", "bucket", "sleep", "slow")


def settings_of(kind, r):
    grid = lambda low, high: GRID * r.randint(low, high)
    settings = dict(kind=kind, min_calls=r.randint(1, 8), fail_pct=r.choice([10, 30, 50, 70, 100]),
                    sleep=grid(0, 12), half_open=1, slow=None, slow_pct=100, consecutive=0)
    if kind == "hystrix":
        bucket = grid(1, 4)
        settings.update(bucket=bucket, window=bucket * r.randint(1, 5))
    elif kind in ("r4j_time", "polly"):
        # The model forgets each result by itself. A bucket as long as the grid does the same.
        settings.update(bucket=GRID, window=grid(1, 24))
    elif kind == "r4j_count":
        settings.update(window=r.randint(settings["min_calls"], 12))
    elif kind in ("consecutive", "envoy"):
        settings.update(consecutive=r.randint(1, 4))
    if kind in ("r4j_time", "r4j_count"):
        # The model waits for all trials; resilience4j and our breaker for min_calls of them.
        settings.update(half_open=r.randint(1, settings["min_calls"]))
        if r.random() < 0.5:
            settings.update(slow=grid(1, 6), slow_pct=r.choice([30, 60, 100]))
    if kind in ("polly", "consecutive"):
        settings.update(half_open=r.randint(1, 3))
    if kind == "envoy":
        # The model takes the endpoint back at the very moment, our breaker after it: never on the grid.
        settings.update(sleep=grid(1, 8) + 1)
    return settings


def history(sim, kind, r):
    """Each step is `<time in ms> admit <admitted> <state>` or `<time in ms> <ok or failed> <which admitted
    call> <state>`."""
    settings = settings_of(kind, r)
    circuit = (Endpoint if kind == "envoy" else Circuit)(sim, settings)
    failing, now, admitted, under_way, steps = 0.5, 0, [], [], []

    def end(which, ok):
        duration = (now - admitted[which]) / 1000
        circuit.record(ok, duration)
        steps.append(f"{now} {'ok' if ok else 'failed'} {which} {circuit.state()}")

    while len(steps) < STEPS:
        now += GRID * r.choice([0, 0, 0, 1, 1, 2, 4, 12])
        circuit.clock.advance(now / 1000)
        if r.random() < 0.1:
            failing = r.choice([0.05, 0.5, 0.95])
        if under_way and r.random() < 0.5:
            end(under_way.pop(r.randrange(len(under_way))), r.random() >= failing)
            continue
        ok = circuit.allow()
        steps.append(f"{now} admit {'yes' if ok else 'no'} {circuit.state()}")
        if ok:
            admitted.append(now)
            if kind == "envoy":
                # Results that come in while the endpoint is out count in the model, and are forgotten
                # when it comes back in Envoy and in our breaker: there are none.
                end(len(admitted) - 1, r.random() >= failing)
            else:
                under_way.append(len(admitted) - 1)
    return dict(settings=settings, steps=steps)


def main():
    spec = importlib.util.spec_from_file_location("sim", sys.argv[1])
    sim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sim)
    histories = [history(sim, kind, random.Random(f"{kind} {number}"))
                 for kind in ("hystrix", "r4j_count", "r4j_time", "polly", "consecutive", "envoy")
                 for number in range(HISTORIES)]
    print("[")
    print(",\n".join(json.dumps(it, separators=(",", ":")) for it in histories))
    print("]")


if __name__ == "__main__":
    main()
