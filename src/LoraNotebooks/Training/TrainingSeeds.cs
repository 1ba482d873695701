using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>What random numbers are for.</summary>
public enum RandomUse
{
    /// <summary>The adapters' initial weights.</summary>
    Weights,

    /// <summary>The latents of image i, where they are sampled.</summary>
    Latents,

    /// <summary>The order of the examples in epoch i.</summary>
    Order,

    /// <summary>Noise and timesteps of batch i.</summary>
    Noise,

    /// <summary>The captions of batch i: which are dropped, how their tags are shuffled; mirroring.</summary>
    Captions,

    /// <summary>The adapters' dropout in batch i.</summary>
    Dropout,

    /// <summary>The offset noise of batch i, and its strength.</summary>
    NoiseOffset,

    /// <summary>The multi-resolution noise of batch i.</summary>
    MultiresNoise,

    /// <summary>The input perturbation of batch i, and its strength.</summary>
    InputPerturbation,
}

/// <summary>
/// The random numbers of a run. Each use at each index has a generator of its own, derived from the run's seed: nothing depends on what was drawn
/// before, so a resumed run draws the numbers of an uninterrupted one, and no generator's state has to be saved.
/// </summary>
/// <param name="seed">The run's seed.</param>
public sealed class TrainingSeeds(long seed)
{
    /// <summary>A new generator; the caller disposes it.</summary>
    /// <param name="use">What its numbers are for.</param>
    /// <param name="index">The index i of epoch, batch or example. Default 0.</param>
    public Generator Generator(RandomUse use, long index = 0) => new(unchecked((ulong)Derive(use, index)));

    /// <summary>A seed, from 0 to 2³¹−1.</summary>
    /// <param name="use">What its numbers are for.</param>
    /// <param name="index">The index i of epoch, batch or example. Default 0.</param>
    public long Derive(RandomUse use, long index = 0) => (long)(Mix(Mix(Mix(unchecked((ulong)seed)) ^ (ulong)use) ^ unchecked((ulong)index)) >> 33);

    /// <summary>The output function of SplitMix64 (Steele, Lea and Flood 2014): neighbouring inputs give unrelated outputs.</summary>
    private static ulong Mix(ulong z)
    {
        unchecked
        {
            z += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
