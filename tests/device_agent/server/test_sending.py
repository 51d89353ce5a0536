"""Uploading: in order, at a pace, and nothing is held up for ever."""

from device_agent.server.sending import BATCHES_A_ROUND


def test_a_report_that_the_server_never_takes_does_not_hold_up_the_others(open_box, fleet):
    fleet.refused_kinds = {"event"}
    agent = open_box()
    for number in range(3):
        agent.box.event("test", f"event-{number}", "text")

    assert agent.run_once() == "active"
    assert len(agent.box.outbox) == 0
    assert [o.status for o in fleet.outcomes()] == ["activated"]


def test_a_full_outbox_goes_out_over_several_polls(open_box, fleet):
    agent = open_box()
    agent.run_once()
    for number in range(1000):
        agent.box.event("test", f"event-{number}", "text")
    left: list[int] = []

    def sleep(_: float) -> None:
        left.append(len(agent.box.outbox))
        if len(left) == 2:
            agent.box.world.stop.set()

    object.__setattr__(agent.box.world, "sleep", sleep)
    agent.run_forever()

    assert left == [1000 - 200 * BATCHES_A_ROUND, 0]
    names = [r.body.name for r in fleet.received if r.body.kind == "event"]
    assert names == [f"event-{number}" for number in range(1000)]
