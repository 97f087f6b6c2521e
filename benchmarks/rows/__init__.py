"""The rows of the benchmark, in the order of the report."""

from benchmarks.problem import Row
from benchmarks.rows import (
    batch_sizes,
    deep,
    logistic,
    mlp,
    quiz,
    rosenbrock,
    scalar_call,
    transformer,
    xor,
)

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        mlp.large,
        mlp.small,
        xor.row,
        logistic.row,
        quiz.f64,
        quiz.f32,
        deep.scalar,
        deep.vector,
        rosenbrock.row,
        scalar_call.row,
        batch_sizes.row,
        mlp.startup,
        transformer.row,
    )
}
