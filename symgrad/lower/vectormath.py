"""Placeholder."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import numpy as np


def sigmoid_f64(x):
    e = np.exp(-np.abs(x))
    return (np.float64(1) if x >= 0 else e) / (np.float64(1) + e)


def sigmoid_f32(x):
    e = np.exp(-np.abs(x))
    return (np.float32(1) if x >= 0 else e) / (np.float32(1) + e)


def softplus_f64(x):
    return np.maximum(x, np.float64(0)) + np.log1p(np.exp(-np.abs(x)))


def softplus_f32(x):
    return np.maximum(x, np.float32(0)) + np.log1p(np.exp(-np.abs(x)))


def exp2_f64(x):
    return np.exp2(x)


def exp2_f32(x):
    return np.float32(np.exp2(np.float64(x)))


def log2_f64(x):
    return np.log2(x)


def log2_f32(x):
    return np.float32(np.log2(np.float64(x)))


def exp_f64(x):
    return np.exp(x)
