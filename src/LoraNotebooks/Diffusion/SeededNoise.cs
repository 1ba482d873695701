using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>
/// Noise for a batch in which each image draws from a generator of its own, so that an image is the same whatever it is generated
/// with. Drawn on the CPU, so that it is the same for every device.
/// </summary>
internal sealed class SeededNoise : IDisposable
{
    private readonly Generator[] _generators;
    private readonly long[] _shape;
    private readonly Device _device;

    /// <summary>Starts a generator per seed.</summary>
    /// <param name="seeds">N seeds.</param>
    /// <param name="shape">The shape of one image's latents, [C, h, w].</param>
    /// <param name="device">Where the noise is wanted.</param>
    public SeededNoise(IEnumerable<long> seeds, long[] shape, Device device)
    {
        _generators = [.. seeds.Select(seed => new Generator(unchecked((ulong)seed)))];
        _shape = shape;
        _device = device;
    }

    /// <summary>The next standard normal noise of every image, [N, C, h, w].</summary>
    public Tensor Draw()
    {
        using var scope = NewDisposeScope();
        return stack(_generators.Select(generator => randn(_shape, generator: generator)).ToArray()).to(_device).MoveToOuterDisposeScope();
    }

    /// <summary>Frees the generators.</summary>
    public void Dispose() => Array.ForEach(_generators, generator => generator.Dispose());
}
