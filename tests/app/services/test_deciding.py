from sqlalchemy import func, select

from app.database import writing
from app.repositories import devices, policies, releases
from app.services.deciding import Fleet, _decide
from app.tables import decisions


def fleet_of(tx):
    return Fleet(
        revision=devices.fleet_revision(tx),
        release=releases.current(tx),
        policies=policies.in_force(tx),
    )


def n_decisions(tx, device_id):
    of_box = select(func.count()).where(decisions.c.device_id == device_id)
    return tx.execute(of_box).scalar_one()


def test_who_lost_the_race_appends_no_decision_and_gives_the_winners_tag(server):
    box = server.box()
    with writing(server.engine) as session:
        devices.touch_fleet(session)
        tx = session.connection()
        seen_by_both = devices.decided(tx, [box.device_id])[box.device_id]
        before = n_decisions(tx, box.device_id)
        won = _decide(tx, seen_by_both, fleet_of(tx), server.clock())
        lost = _decide(tx, seen_by_both, fleet_of(tx), server.clock())
        assert lost == won
        assert n_decisions(tx, box.device_id) == before + 1
