"""A program that watches its own memory, and tells a channel of its own."""

from pytest_memalert import (
    AlertCategory,
    AlertManager,
    AlertRule,
    AlertSeverity,
    PerformanceAlert,
    find_leaks,
)

ORDERS: list[bytearray] = []
VISITORS: list[object] = []


class Printer:
    """Print what is news; any object with a name and ``send`` is a channel."""

    name = "printer"

    async def send(self, alert: PerformanceAlert) -> None:
        """Print the first line of an alert, and what to do."""
        print(f"  told: {alert.severity.value}: {alert.message.splitlines()[0]}")
        for advice in alert.recommendations[:1]:
            print(f"        {advice}")


def handle_order(size_bytes: int) -> None:
    """Keep an order, which it shouldn't."""
    ORDERS.append(bytearray(size_bytes))


def greet() -> None:
    """Remember a visitor for ever."""
    VISITORS.append([])


def main() -> None:
    """Handle three orders, then look for a leak."""
    manager = AlertManager(channels=[Printer()])
    manager.add_rule(
        AlertRule(
            name="order",
            category=AlertCategory.MEMORY_GROWTH,
            severity=AlertSeverity.WARNING,
            metric="growth_bytes",
            threshold=2**20,
            recommendations=("Keep orders in the database.",),
        )
    )
    for size_mib in (4, 4, 16):
        print(f"an order of {size_mib} MiB")
        with manager.measure("handle_order") as report:
            handle_order(size_mib * 2**20)
        manager.check_memory(report)

    print("someone accepts that")
    (worst, *_) = manager.recent(1)
    manager.acknowledge(worst.id, reason="orders move to the database next week")
    with manager.measure("handle_order") as report:
        handle_order(16 * 2**20)
    print(f"  alerts raised: {len(manager.check_memory(report))}")

    print("a search for leaks")
    manager.check_leaks(find_leaks(greet), name="greet")
    print(f"remembered: {', '.join(alert.rule for alert in manager.recent())}")


if __name__ == "__main__":
    main()
