"""Sensors: each a start/poll core with no waiting in it, and an error that names what is wrong.

A sensor has `name`, `channels` (a tuple of (quantity, place)), and three steps, all of which may raise SensorError:

    start(now_ms)     begin a measurement; return the milliseconds until it is worth polling
    poll(now_ms)      0 when the values are there, else the milliseconds until it is worth polling again
    read(out, at)     the values, in the quantities' steps, into out[at], out[at + 1], … in the order of `channels`

Times are `Clock.now`: milliseconds in a ring. Nothing here allocates in steady state but what a board's integers
beyond 30 bits take.
"""
