"""Joins the stations of a node and starts them. Nothing else is decided here."""

import asyncio
import gc
import time

from wayside_node import VERSION, hardware, identity, profile, startup
from wayside_node.batch import Batch
from wayside_node.clock import Clock
from wayside_node.commands import Commands
from wayside_node.downlink import Downlink
from wayside_node.footfall.beams import SERVICE_MS
from wayside_node.health import Health, Totals
from wayside_node.journal import Journal
from wayside_node.links.serial import SerialLink, open_port
from wayside_node.orders import Orders
from wayside_node.sampler import Sampler, channels_of
from wayside_node.seal import Recorder
from wayside_node.session import About, Numbers, Session
from wayside_node.settings import Settings
from wayside_node.spool import Spool
from wayside_node.tasks import Task, describe, keep, place_of
from wayside_node.watchdog import ResetCause, Watchdog
from wayside_protocol import event
from wayside_protocol.frame import Opener, Sealer

RUNNING_GARBAGE = 16384
"""Bytes allocated before a collection, beside the one after each sample: draining a backlog is what needs it."""

AGAIN_S = 60
"""From an error before the tasks run to the next boot: seldom enough for the flash to bear it for years."""


def run(board, node, key):
    """Wire everything and go on for ever."""
    root = board.DATA_ROOT
    settings = Settings(root)
    reset_cause = ResetCause(root)
    boot = identity.next_boot(root)
    clock = Clock(boot)
    journal = Journal(root, board.JOURNAL_BYTES)
    sealer = Sealer(key)
    opener = Opener(key, sealer)
    recorder = Recorder(node, clock, journal, sealer)
    spool = Spool(root)

    beams = hardware.beams(board, settings, clock.now())
    sensors = (hardware.climate(board), beams)
    startup.begin(root, spool, recorder, journal, opener, channels_of(sensors))
    startup.announce(recorder, boot, hardware.reset_cause(), VERSION, reset_cause, settings)
    clock.on_set = lambda uptime, before, after: recorder.event(event.CLOCK_SET, (boot, uptime, before, after))

    chosen = settings.values
    batch = Batch(clock, recorder, spool, chosen["sample_interval_s"], chosen["report_interval_s"], chosen["batch"])
    sampler = Sampler(clock, batch, recorder, sensors)
    totals = Totals(root, beams)
    commands = Commands(
        clock, sampler, journal, reset_cause, hardware.lamp(board), hardware.reset, lambda: totals.read()
    )

    about = About(node, boot, VERSION, board.BOARD, settings.version)
    about.set_id = recorder.set_id
    downlink, orders = Downlink(node, boot, opener), Orders(commands.apply)
    startup.recall(reset_cause, orders)
    session = Session(about, clock, journal, sealer, downlink, orders, Numbers())
    link = SerialLink(session, clock, open_port(board.SERIAL))

    gauges = (
        (event.LINK_NOISE, lambda: link.noise_bytes),
        (event.LINK_REFUSED, lambda: downlink.refusals),
        (event.SENSOR_ERRORS, lambda: sampler.errors),
    )
    health = Health(clock, recorder, journal, totals, chosen["health_interval_s"], gauges)
    watchdog = Watchdog(clock, reset_cause, hardware.watchdog(board), board.WATCHDOG_MS)

    def service(now):
        beams.service(now)
        return SERVICE_MS

    def task(name, step):
        return Task(name, step, clock, watchdog, recorder)

    sampling, sending = task("sampler", sampler.step), task("link", link.sender)
    ordering, receiving = task("orders", commands.step), task("receiver", None)
    stations = (sampling, sending, ordering, task("beams", service), task("health", health.step))
    recorder.on_append = orders.on_answer = link.on_input = sending.wake.set
    commands.wake, commands.wake_sampler = ordering.wake.set, sampling.wake.set

    async def join():
        running = [asyncio.create_task(station.run()) for station in stations]
        running.append(asyncio.create_task(keep(receiving, link.listen)))
        await task("watchdog", watchdog.step).run()

    gc.collect()
    gc.threshold(RUNNING_GARBAGE)
    asyncio.run(join())


def main():
    board = profile.load()
    if hardware.service_asked(board):
        print("wayside: the button is held: no node runs, the console is yours")  # noqa: T201 -- as below
        return
    known = identity.load(board.DATA_ROOT)
    if known is None:
        print("wayside: this node has no identity yet: provision it")  # noqa: T201 -- the console is all it has
        return
    try:
        run(board, known[0], known[1])
    except Exception as error:  # noqa: BLE001 -- a node that stays silent needs somebody to climb up to it
        print("wayside: the node cannot go on:", describe(error), place_of(error))  # noqa: T201 -- as above
        time.sleep(AGAIN_S)
        hardware.reset()


main()
