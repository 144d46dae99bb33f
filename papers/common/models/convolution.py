"""The 3x3 convolution, batch normalisation and 2x2 max pool of VGG, arranged for XLA on CPU.

On accelerators the convolution is `lax.conv_general_dilated` and the pool a maximum of four corners. On CPU the same
functions, with the same gradients to rounding, avoid what XLA does badly there (jax 0.10.1, one core, batch 128, 8 to
64 channels; the whole step is measured by `python tests/benchmarks/bench_training_step.py`):

- The weight gradient as a convolution is several times slower than as a matrix product of shifted rows, taken by chunks
  of the batch so that the shifted rows stay in the cache.
- Three or eight channels fill no vector. Before a max pool the convolution is therefore taken on 2x2 windows: four
  pixels of input channels to four pixels of features, 16/9 of the arithmetic; the first layer takes 7 ms forward, not
  49, and the windows are those of the pool.
- On a 2x2 map the convolution runs at a hundredth of the speed of the dense layer that it is.
- Select-and-scatter, the gradient of the pool, is scalar; a comparison with the maximum is not. A broadcast or reshape
  inside an elementwise loop makes that scalar, too, hence the arrays of two axes and the products with identities.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

THIN = 16  # input channels up to which the 2x2 windows of a pooled layer are convolved as one pixel
SMALL_MAP = 6  # padded side up to which shifted copies of the map cost less than one product over padded rows
CHUNK = 1 << 19  # numbers of shifted rows held at a time by the weight gradient: they stay in the cache


def convolve(images: Array, kernel: Array) -> Array:
    """Convolve with a 3x3 kernel at stride 1 and zero padding 1, as `nn.Conv` does.

    Args:
        images: (n, height, width, channels).
        kernel: (3, 3, channels, features), of the same dtype.

    Returns:
        (n, height, width, features).
    """
    if not on_cpu():
        return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    if images.shape[1:3] == (2, 2):
        return _convolve_smallest(images, kernel)
    return correlate(jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel)


def _convolve_smallest(images: Array, kernel: Array) -> Array:
    """Convolve a 2x2 map: every output pixel sees every input pixel, so that it is one dense layer."""
    channels, features = kernel.shape[2:]
    seen = [kernel[1 - i : 3 - i, 1 - j : 3 - j] for i in (0, 1) for j in (0, 1)]
    matrix = jnp.stack(seen, 3).reshape(4 * channels, 4 * features)
    return (images.reshape(-1, 4 * channels) @ matrix).reshape(-1, 2, 2, features)


def convolve_windows(images: Array, kernel: Array) -> Array:
    """Convolve as `convolve` does and return the result by the 2x2 windows of a max pool.

    A window of four output pixels sees 4x4 input pixels: on the grid of 2x2 input blocks, shifted by one pixel by the
    padding, it is a 2x2 convolution of four times the channels to four times the features.

    Args:
        images: (n, height, width, channels), even height and width.
        kernel: (3, 3, channels, features), of the same dtype.

    Returns:
        (n * height / 2 * width / 2, 4 * features); the last axis is ordered row, column, feature.
    """
    n, height, width, channels = images.shape
    features = kernel.shape[-1]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = padded.reshape(n, height // 2 + 1, 2, width // 2 + 1, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(n, height // 2 + 1, width // 2 + 1, 4 * channels)
    shifted = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i in (0, 1) for j in (0, 1)]
    block_kernel = jnp.stack(shifted, 3).reshape(2, 2, 2, 2, channels, 4 * features).transpose(0, 2, 1, 3, 4, 5)
    return correlate(blocks, block_kernel.reshape(2, 2, 4 * channels, 4 * features)).reshape(-1, 4 * features)


@jax.custom_vjp
def correlate(padded: Array, kernel: Array) -> Array:
    """Convolve without padding; the gradient in the kernel is a matrix product.

    Args:
        padded: (n, height + side - 1, width + side - 1, channels).
        kernel: (side, side, channels, features).

    Returns:
        (n, height, width, features).
    """
    return lax.conv_general_dilated(padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _correlate_forward(padded: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return correlate(padded, kernel), (padded, kernel)


def _correlate_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    padded, kernel = residuals
    border = kernel.shape[0] - 1
    adjoint = kernel[::-1, ::-1].swapaxes(2, 3)
    full = jnp.pad(cotangent, ((0, 0), (border, border), (border, border), (0, 0)))
    in_padded = lax.conv_general_dilated(full, adjoint, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return in_padded, kernel_gradient(padded, cotangent, kernel.shape[0])


correlate.defvjp(_correlate_forward, _correlate_backward)


def kernel_gradient(padded: Array, cotangent: Array, side: int) -> Array:
    """Return the gradient of `correlate` in its kernel.

    With pixels numbered row by row a shift of the kernel is an offset r -> r + i width + j of rows, so that
    dK[i, j] = sum_r x[r + i width + j]^T g[r] = sum_r x[r + j]^T g[r - i width]: one product of `side` copies of x
    with `side` copies of g gives all shifts. g is zero in the rows that the kernel does not reach.

    Args:
        padded: (n, height + side - 1, width + side - 1, channels).
        cotangent: (n, height, width, features).
        side: the kernel's.

    Returns:
        (side, side, channels, features).
    """
    n, rows, columns, channels = padded.shape
    _, height, width, features = cotangent.shape
    if rows <= SMALL_MAP:
        flat = cotangent.reshape(-1, features)
        pixels = [padded[:, i : i + height, j : j + width] for i in range(side) for j in range(side)]
        products = jnp.stack([shifted.reshape(-1, channels).T @ flat for shifted in pixels])
        return products.reshape(side, side, channels, features)

    def product(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        x = chunk[0].reshape(-1, channels)
        g = jnp.pad(chunk[1], ((0, 0), (0, side - 1), (0, side - 1), (0, 0))).reshape(-1, features)
        length = x.shape[0]
        x = jnp.pad(x, ((0, side), (0, 0)))
        g = jnp.pad(g, (((side - 1) * columns, 0), (0, 0)))
        x = jnp.concatenate([x[j : j + length] for j in range(side)], 1)
        g = jnp.concatenate([g[(side - 1 - i) * columns :][:length] for i in range(side)], 1)
        return total + x.T @ g, None

    chunks = n
    while chunks % 2 == 0 and (2 * n // chunks) * rows * columns * side * (channels + features) <= CHUNK:
        chunks //= 2
    split = [array.reshape(chunks, n // chunks, *array.shape[1:]) for array in (padded, cotangent)]
    zero = jnp.zeros((side * channels, side * features), padded.dtype)
    total, _ = lax.scan(product, zero, tuple(split))
    return total.reshape(side, channels, side, features).transpose(2, 0, 1, 3)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """Normalise every channel by its mean and biased variance, then scale and shift.

    Args:
        x: (n, channels), or by windows, (n, 4 * channels).
        scale: (channels,).
        bias: (channels,).
        epsilon: added to the variance.

    Returns:
        The normalised array, the mean and the variance; the gradients of the last two are not followed.
    """
    return _normalise_forward(x, scale, bias, epsilon)[0]


def _normalise_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[tuple[Array, Array, Array], tuple]:
    size = x.size // scale.size
    mean = _sum(x, scale.size) / size
    var = jnp.maximum(_sum(jnp.square(x), scale.size) / size - jnp.square(mean), 0)
    deviation = lax.rsqrt(var + epsilon)
    slope = scale * deviation
    return (x * tile(slope, x) + tile(bias - mean * slope, x), mean, var), (x, scale, mean, deviation)


def _normalise_backward(epsilon: float, residuals: tuple, cotangents: tuple) -> tuple[Array, Array, Array]:
    x, scale, mean, deviation = residuals
    cotangent, size = cotangents[0], x.size // scale.size
    in_bias = _sum(cotangent, scale.size)
    in_scale = (_sum(cotangent * x, scale.size) - mean * in_bias) * deviation
    slope = scale * deviation
    inclination = slope * deviation * in_scale / size
    offset = slope * in_bias / size - inclination * mean
    return tile(slope, x) * cotangent - tile(offset, x) - tile(inclination, x) * x, in_scale, in_bias


normalise.defvjp(_normalise_forward, _normalise_backward)


def _sum(x: Array, channels: int) -> Array:
    return jnp.sum(jnp.sum(x, 0).reshape(-1, channels), 0)


def tile(vector: Array, x: Array) -> Array:
    """Repeat (channels,) to the last axis of `x`, one or four times, with the rank and dtype of `x`."""
    repeated = jnp.tile(vector, x.shape[-1] // vector.size).astype(x.dtype)
    return lax.expand_dims(repeated, range(x.ndim - 1))


def relu_max_pool(x: Array) -> Array:
    """Apply ReLU and take the maximum of every 2x2 window at stride 2.

    The gradient goes to the first maximum of a window, as that of `nn.max_pool` does.

    Args:
        x: (n, height, width, channels), even height and width.

    Returns:
        (n, height / 2, width / 2, channels).
    """
    if not on_cpu():
        return _pool_corners(x)
    n, height, width, channels = x.shape
    rows = x.reshape(n * height // 2, 2, width // 2, 2 * channels)
    pooled = _pool_map(rows)
    return pooled.reshape(n, height // 2, width // 2, channels)


@jax.custom_vjp
def relu_max_windows(windows: Array) -> Array:
    """Apply ReLU and take the maximum of every window, as `relu_max_pool` does, of what `convolve_windows` returns.

    Args:
        windows: (n, 4 * channels).

    Returns:
        (n, channels).
    """
    first, second, third, fourth = jnp.split(windows, 4, -1)
    return jax.nn.relu(jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth)))


def _windows_forward(windows: Array) -> tuple[Array, tuple[Array, Array]]:
    pooled = relu_max_windows(windows)
    return pooled, (windows, pooled)


def _windows_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    windows, pooled = residuals
    winner = _winner(jnp.split(windows, 4, -1), pooled)
    # a product with four identities copies the pooled arrays into the four corners; a broadcast would be scalar
    copies = jnp.tile(jnp.eye(pooled.shape[-1], dtype=windows.dtype), 4)
    corner = jnp.repeat(jnp.arange(4, dtype=windows.dtype), pooled.shape[-1])
    return (jnp.where(winner @ copies == tile(corner, windows), cotangent @ copies, 0),)


relu_max_windows.defvjp(_windows_forward, _windows_backward)


def _winner(corners: list[Array], pooled: Array) -> Array:
    """Return the number of the first corner that attains the maximum, -1 where ReLU cuts it off."""
    first, second, third, _ = (corner == pooled for corner in corners)
    zero, one, two, three = (jnp.full_like(pooled, corner) for corner in range(4))
    winner = jnp.where(first, zero, jnp.where(second, one, jnp.where(third, two, three)))
    return jnp.where(pooled > 0, winner, -one)


@jax.custom_vjp
def _pool_map(rows: Array) -> Array:
    """Pool (n height / 2, 2, width / 2, 2 channels) to (n height / 2, width / 2, channels)."""
    taller = jnp.maximum(rows[:, 0], rows[:, 1])
    left, right = jnp.split(taller, 2, -1)
    return jax.nn.relu(jnp.maximum(left, right))


def _map_forward(rows: Array) -> tuple[Array, tuple[Array, Array]]:
    pooled = _pool_map(rows)
    return pooled, (rows, pooled)


def _map_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    rows, pooled = residuals
    corners = [half for row in (rows[:, 0], rows[:, 1]) for half in jnp.split(row, 2, -1)]
    winner = _winner(corners, pooled)
    copies = jnp.tile(jnp.eye(pooled.shape[-1], dtype=rows.dtype), 2)
    column = tile(jnp.repeat(jnp.arange(2, dtype=rows.dtype), pooled.shape[-1]), rows[:, 0])
    winner, cotangent = winner @ copies, cotangent @ copies
    return (jnp.stack([jnp.where(winner == 2 * row + column, cotangent, 0) for row in (0, 1)], 1),)


_pool_map.defvjp(_map_forward, _map_backward)


@jax.custom_vjp
def _pool_corners(x: Array) -> Array:
    """Pool as `relu_max_pool` does; every array keeps its axes, and all loops are elementwise."""
    n, height, width, channels = x.shape
    return jax.nn.relu(x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4)))


def _corners_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    pooled = _pool_corners(x)
    return pooled, (x, pooled)


def _corners_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    x, pooled = residuals
    n, height, width, channels = pooled.shape
    corners = x.reshape(n, height, 2, width, 2, channels)
    winner = _winner([corners[:, :, row, :, column] for row in (0, 1) for column in (0, 1)], pooled)
    corner = jnp.arange(4, dtype=x.dtype).reshape(1, 1, 2, 1, 2, 1)
    spread = jnp.where(winner[:, :, None, :, None] == corner, cotangent[:, :, None, :, None], 0)
    return (spread.reshape(x.shape),)


_pool_corners.defvjp(_corners_forward, _corners_backward)


def on_cpu() -> bool:
    """Say whether programs are compiled for the CPU."""
    return jax.default_backend() == "cpu"
