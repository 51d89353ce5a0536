"""Orders that arrive while the trainer runs: the newest always win."""


def change_orders_while_training(agent, clock, change) -> None:
    """Call ``change`` once the trainer runs, and make every look at the time a poll."""
    asked = 0

    def step() -> float:
        nonlocal asked
        asked += 1
        if agent.state.starts and asked > 3:
            change()
            clock.seconds += 100
        return clock.seconds

    object.__setattr__(agent.box.world, "monotonic", step)


def test_a_permission_withdrawn_during_the_training_stays_withdrawn(open_box, fleet, clock):
    fleet.images_may_leave = True
    agent = open_box()

    def withdraw() -> None:
        fleet.images_may_leave, fleet.generation = False, 9

    change_orders_while_training(agent, clock, withdraw)

    assert agent.run_once() == "active"
    assert agent.state.desired.images_may_leave is False
    assert fleet.outcomes()[-1].generation == 9


def test_a_floor_raised_during_the_training_judges_its_result(open_box, fleet, clock):
    agent = open_box()
    before = fleet.current()

    def raise_floor() -> None:
        fleet.floor, fleet.generation = 0.99, 9

    change_orders_while_training(agent, clock, raise_floor)

    assert before.accuracy_floor == 0.8
    assert agent.run_once() == "idle"
    assert fleet.outcomes()[0].status == "below_floor"
    assert fleet.outcomes()[0].generation == 9
    assert agent.box.shelf.active() is None
