"""The orders of gateways that the node knows (SPEC §6.5), and what they need time for: blinking and rebooting."""

from wayside_node import nothing
from wayside_node.clock import later, since
from wayside_protocol import session

BLINK_MS = 250
IDENTIFY_MAX_S = 600
REBOOT_DELAY_MS = 1_000
"""Time for the answer to leave the board before it resets."""
IDLE_MS = 60_000


class Commands:
    """`apply` is for `Orders`; `step` a task's core; `wake` cuts its wait short, `wake_sampler` the sampler's.

    led(level) lights the lamp, None where there is none; reset() resets the chip, before_reboot() saves what it may
    lose.
    """

    def __init__(self, clock, sampler, journal, reset_cause, led, reset, before_reboot):
        self._clock = clock
        self._sampler = sampler
        self._journal = journal
        self._reset_cause = reset_cause
        self._led = led
        self._reset = reset
        self._before_reboot = before_reboot
        self.wake = nothing
        self.wake_sampler = nothing
        self._blink_until = -1
        self._lit = False
        self._reboot_at = -1

    def apply(self, order):
        """Carry an order out; it is answered now or later."""
        name = order.name
        if name == session.IDENTIFY:
            self._identify(order)
        elif name == session.REPORT:
            self._sampler.report(self._closed(order))
        elif name == session.PAUSE:
            self._sampler.pause(self._closed(order))
        elif name == session.RESUME:
            self._sampler.resume()
            order.finish(session.DONE)
        elif name == session.REBOOT:
            self._sampler.pause(self._rebooting(order))
        else:
            order.finish(session.UNKNOWN, "unknown")
        self.wake()
        self.wake_sampler()

    def _closed(self, order):
        """The answer to report and pause: the newest seq, so that the gateway knows what to wait for."""

        def finish(closed):
            if closed:
                order.finish(session.DONE, str(self._journal.newest))
            else:
                order.finish(session.REFUSED, "flash")

        return finish

    def _identify(self, order):
        if self._led is None:
            order.finish(session.REFUSED, "no lamp")
            return
        self._blink_until = later(self._clock.now(), 1000 * min(order.argument, IDENTIFY_MAX_S))
        order.finish(session.DONE)

    def _rebooting(self, order):
        def finish(_):
            self._reset_cause.reboot(order.gateway, order.id)
            self._before_reboot()
            order.finish(session.DONE)
            self._reboot_at = later(self._clock.now(), REBOOT_DELAY_MS)
            self.wake()

        return finish

    def step(self, now):
        """Blink, and reboot when it is time; return the milliseconds until there is more."""
        if self._reboot_at >= 0:
            wait = -since(now, self._reboot_at)
            if wait <= 0:
                self._reset()
                return IDLE_MS
            return min(wait, self._blink(now))
        return self._blink(now)

    def _blink(self, now):
        if self._blink_until < 0:
            return IDLE_MS
        if since(now, self._blink_until) >= 0:
            self._blink_until = -1
            self._lit = False
        else:
            self._lit = not self._lit
        self._led(1 if self._lit else 0)
        return BLINK_MS if self._blink_until >= 0 else IDLE_MS
