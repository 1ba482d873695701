using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>The random numbers of a run, which a resumed one of a later version has to draw again.</summary>
public sealed class TrainingSeedsTests
{
    [Fact]
    public void Next_OfZero_IsSplitMix64s()
    {
        // The first two numbers of the reference implementation (Vigna 2015, splitmix64.c) from a state of 0.
        Assert.Equal(0xE220A8397B1DCDAF, PlainSeed.Next(0));
        Assert.Equal(0x6E789E6AA1B965F4UL, PlainSeed.Next(0x9E3779B97F4A7C15));
    }

    [Fact]
    public void Derive_EveryUseAndIndex_IsTheSameInEveryVersion()
    {
        string[] uses = ["Weights", "Latents", "Order", "Noise", "Captions", "Dropout", "NoiseOffset", "MultiresNoise", "InputPerturbation"];
        Assert.Equal(uses, Enum.GetNames<RandomUse>());
        foreach (var seed in new[] { 0, 3, -1, long.MinValue, long.MaxValue })
        {
            foreach (var use in Enum.GetValues<RandomUse>())
            {
                long[] indices = [0, 1, 2, 1000, (long)int.MaxValue + 1];
                Assert.Equal(
                    indices.Select(index => PlainSeed.Of(seed, Array.IndexOf(uses, use.ToString()), index)),
                    indices.Select(index => new TrainingSeeds(seed).Derive(use, index)));
            }
        }
    }

    [Fact]
    public void Derive_UsesIndicesAndSeeds_NeverShareNumbers()
    {
        var derived = from seed in Enumerable.Range(0, 3)
                      from use in Enum.GetValues<RandomUse>()
                      from index in Enumerable.Range(0, 50)
                      select new TrainingSeeds(seed).Derive(use, index);

        Assert.Equal(3 * 9 * 50, derived.Distinct().Count());
        Assert.All(derived, seed => Assert.InRange(seed, 0, int.MaxValue));
    }

    [Fact]
    public void Generator_OfAUse_DrawsFromItsSeed()
    {
        using var scope = NewDisposeScope();
        using var ours = new TrainingSeeds(4).Generator(RandomUse.Dropout, 6);
        using var theirs = PlainSeed.Generator(4, PlainSeed.Dropout, 6);

        Assert.Equal(rand(8, generator: theirs).data<float>().ToArray(), rand(8, generator: ours).data<float>().ToArray());
        Assert.Equal(new TrainingSeeds(4).Derive(RandomUse.Weights, 0), new TrainingSeeds(4).Derive(RandomUse.Weights));
    }
}
