"""The ring of acks against a plain set of the records that wait."""

from random import Random

import pytest

from wayside_node.journal.acks import Acks


@pytest.mark.parametrize("seeds", range(5))
def test_agrees_with_a_set(seed: int, seeds: int) -> None:
    random = Random(seed + seeds)
    acks = Acks(96)
    low, high = 1, 0
    model: set[int] = set()
    for _ in range(3000):
        match random.randrange(6):
            case 0 | 1 if high - low < acks.size - 4:
                skip = random.choice([0, 0, 0, 2])
                high += 1 + (skip if high >= low else 0)
                acks.push(high)
                model.add(high)
            case 2:
                first = random.randint(low - 3, high + 3)
                last = first + random.randrange(30)
                held = random.random() < 0.8
                if held:
                    assert acks.mark(first, last, True) == len(model & set(range(first, last + 1)))
                    model -= set(range(first, last + 1))
            case 3 if high >= low:
                low = min(high, low + random.randrange(9))
                acks.drop_below(low)
                model -= set(range(low))
            case 4:
                seq = random.randint(low - 2, high + 2)
                assert acks.next(seq) == min((s for s in model if s >= seq), default=-1)
                assert acks.previous(seq) == max((s for s in model if s <= seq), default=-1)
            case _:
                assert acks.waiting == len(model)
