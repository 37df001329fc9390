"""A budget that many processes share: nobody is turned away because others write, and reservations come first."""

import json

from .test_simulation import simulate


def gather(processes: int, purchases: int, seed: int) -> dict[str, float]:
    run = simulate(
        "--processes", str(processes), "--purchases", str(purchases), "--seed", str(seed), module="simulation.crowd"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def test_128_processes_reach_the_limit_and_none_is_turned_away():
    crowd = gather(128, 10, seed=1)
    assert (crowd["given_up"], crowd["reserved"]) == (0, 0)
    assert crowd["spent"] == crowd["refused"] * 3 == 960  # USD, of which three of four purchases get one
    assert crowd["writes"] <= 1.5


def test_a_reservation_of_16_processes_takes_a_second_of_the_simulated_store_at_most():
    """What was bought already is booked later: nobody waits for that. Before it took 1.4 s."""
    crowds = [gather(16, 25, seed) for seed in (1, 2, 3)]
    assert max(crowd["slowest"] for crowd in crowds) <= 1
    assert max(crowd["writes"] for crowd in crowds) <= 0.5
