"""The commands of gateways: each applied once, each answered, a repeat answered again (SPEC §6.5)."""

from wayside_node import nothing
from wayside_protocol.session import Answer, Command

ORDERS_MAX = 8
"""Commands remembered; a gateway repeats one that it has no answer to before it sends so many others."""


class Order:
    """One command on its way. Whoever applies it calls `finish`, at once or later."""

    def __init__(self, orders, gateway, command):
        self._orders = orders
        self.gateway = gateway
        self.id = command.id
        self.name = command.name
        self.argument = command.argument
        self.status = None
        self.result = ""
        self.due = False

    def finish(self, status, result=""):
        """Answer with one of the protocol's DONE, REFUSED, UNKNOWN, and a word for people. Only the first counts."""
        if self.status is None:
            self.status = status
            self.result = result
            self.due = True
            self._orders.on_answer()


class Orders:
    """`apply(order)` carries a command out. `on_answer()` is called when there is an answer to send."""

    def __init__(self, apply):
        self.apply = apply
        self.on_answer = nothing
        self._known = []

    def remember(self, gateway, command_id, status):
        """A command that was answered in the boot before: its repeat is not applied again."""
        order = Order(self, gateway, Command(command_id, 0, 0))
        order.status = status
        self._known.append(order)

    def take(self, gateway, command):
        for order in self._known:
            if order.gateway == gateway and order.id == command.id:
                order.due = order.status is not None
                return
        if len(self._known) >= ORDERS_MAX and not self._forget():
            return
        order = Order(self, gateway, command)
        self._known.append(order)
        self.apply(order)

    def _forget(self):
        """Make room: the oldest that was answered goes. One still being applied stays: it could be applied twice."""
        for i in range(len(self._known)):
            if self._known[i].status is not None:
                self._known.pop(i)
                return True
        return False

    def answer(self):
        """The next answer to send, or None; it counts as sent."""
        for order in self._known:
            if order.due:
                order.due = False
                return Answer(order.id, order.status, order.result)
        return None
