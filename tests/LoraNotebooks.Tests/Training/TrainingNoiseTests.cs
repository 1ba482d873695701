using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Adapters;
using LoraNotebooks.Tests.Data;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class TrainingNoiseTests
{
    [Fact]
    public void Offset_NegativeAdaptiveScale_NeverTurnsTheOffsetAround()
    {
        using var scope = NewDisposeScope();
        var latents = cat([full([1, 1, 2, 2], 0.1f), full([1, 1, 2, 2], -3f)], 1);

        var shaped = TrainingNoise.Offset(zeros(1, 2, 2, 2), ones(1, 2, 1, 1), latents, 0.05, -0.1);

        // 0.05 − 0.1·|0.1| = 0.04 for the first channel; 0.05 − 0.1·|−3| is below 0 for the second.
        Assert.Equal(0.04f, shaped[0, 0, 1, 1].item<float>(), 1e-6f);
        Assert.Equal(0, shaped[0, 1, 1, 1].item<float>());
    }

    [Theory]
    [InlineData(8, 8)]
    [InlineData(64, 24)]
    public void MultiResolution_AnySize_HasUnitDeviationAndCoarseParts(long height, long width)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var noise = randn([16, 4, height, width], generator: generator);

        var shaped = TrainingNoise.MultiResolution(noise, generator, 6, 0.8);

        Assert.Equal(noise.shape, shaped.shape);
        Assert.Equal(1, shaped.std().item<float>(), 1e-4f);
        Assert.True(ChannelMeans(shaped) > 2 * ChannelMeans(noise));

        static float ChannelMeans(Tensor x) => x.mean([2, 3]).std().item<float>();
    }

    // Size, levels at most, discount; the noise of 8×24 pixels is down to one row before its width is.
    [Theory]
    [InlineData(8, 8, 1, 0.5)]
    [InlineData(8, 8, 2, 0.9)]
    [InlineData(8, 24, 10, 0.7)]
    [InlineData(24, 8, 10, 0.7)]
    [InlineData(1, 1, 3, 0.8)]
    public void MultiResolution_AnyLevels_IsTheSumOfEnlargedNoise(long height, long width, int iterations, double discount)
    {
        using var scope = NewDisposeScope();
        using var ours = new Generator(7);
        using var theirs = new Generator(7);
        long[] shape = [2, 3, height, width];
        using var noise = randn(shape, generator: new Generator(8));

        var shaped = TrainingNoise.MultiResolution(noise, ours, iterations, discount);

        var expected = PlainNoise.MultiResolution(PlainTraining.Numbers(noise), shape, theirs, iterations, discount);
        Assert.Equal(shape, shaped.shape);
        Assert.All(expected.Zip(PlainTraining.Numbers(shaped)), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        Assert.Equal(PlainNoise.Uniform(theirs), TrainingNoise.Uniform(ours));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(0.5)]
    [InlineData(-0.2)]
    public void Offset_AnyScale_ShiftsEachChannel(double? scale)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(9);
        var (noise, shift, latents) = (
            randn([2, 3, 4, 5], generator: generator),
            randn([2, 3, 1, 1], generator: generator),
            randn([2, 3, 4, 5], generator: generator) - 0.2);
        var expected = PlainTraining.Numbers(noise);
        PlainNoise.Offset(expected, PlainTraining.Numbers(latents), PlainTraining.Numbers(shift), 0.05, scale);

        var shaped = TrainingNoise.Offset(noise, shift, latents, 0.05, scale);

        Assert.All(expected.Zip(PlainTraining.Numbers(shaped)), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
    }

    // First timestep and the one before which they end.
    [Theory]
    [InlineData(0, 2)]
    [InlineData(997, null)]
    [InlineData(5, 6)]
    public void Draw_Timesteps_ReachBothEndsAndNothingBeyond(int min, int? max)
    {
        using var scope = NewDisposeScope();
        var config = new DiffusionTrainingConfig { MinTimestep = min, MaxTimestep = max };
        var source = new TrainingNoiseSource(config, new NoiseSchedule(SchedulerConfig.StableDiffusion), new TrainingSeeds(3));

        var timesteps = source.Draw(zeros(64, 1, 1, 1), 5).Timesteps.data<long>().ToArray();

        Assert.Equal(Enumerable.Range(min, (max ?? 1000) - min).Select(t => (long)t), timesteps.Distinct().Order());
    }

    public static TheoryData<string> Options() => [.. NoiseOptions.Keys];

    private static readonly Dictionary<string, DiffusionTrainingConfig> NoiseOptions = new()
    {
        ["plain"] = new(),
        ["offset"] = new() { NoiseOffset = 0.3 },
        ["adaptive"] = new() { NoiseOffset = 0.3, AdaptiveNoiseScale = -0.4 },
        ["random offset"] = new() { NoiseOffset = 0.3, NoiseOffsetRandomStrength = true },
        ["perturbed"] = new() { IpNoiseGamma = 0.2 },
        ["randomly perturbed"] = new() { IpNoiseGamma = 0.2, IpNoiseGammaRandomStrength = true },
        ["multi-resolution"] = new() { MultiresNoiseIterations = 4 },
        ["all"] = new()
        {
            NoiseOffset = 0.3,
            NoiseOffsetRandomStrength = true,
            AdaptiveNoiseScale = 0.4,
            MultiresNoiseIterations = 4,
            MultiresNoiseDiscount = 0.8,
            IpNoiseGamma = 0.2,
            IpNoiseGammaRandomStrength = true,
            MinTimestep = 300,
            MaxTimestep = 400,
        },
    };

    [Theory]
    [MemberData(nameof(Options))]
    public void Draw_AnyBatch_HangsOnSeedAndNumberAlone(string option)
    {
        var config = NoiseOptions[option] with { Seed = -5 };
        var source = new TrainingNoiseSource(config, new NoiseSchedule(SchedulerConfig.StableDiffusion), new TrainingSeeds(config.Seed));
        using var scope = NewDisposeScope();
        var latents = randn([3, 2, 4, 6], generator: new Generator(1));

        foreach (var number in new long[] { 0, 3, (long)int.MaxValue + 1, 3 })
        {
            var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
            var (noise, input, timesteps) = source.Draw(latents, number);

            Assert.Equal(before + (config.IpNoiseGamma is null ? 2 : 3), DisposeScopeManager.Statistics.ThreadTotalLiveCount);
            var expected = new PlainNoise(config).Draw(PlainTraining.Numbers(latents), latents.shape, number, config.MaxTimestep ?? 1000);
            Assert.Equal(expected.Timesteps, timesteps.data<long>().ToArray());
            Assert.All(expected.Noise.Zip(PlainTraining.Numbers(noise)), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
            Assert.Equal(config.IpNoiseGamma is null, input is null);
            Assert.All(expected.Input.Zip(PlainTraining.Numbers(input ?? noise)), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }
    }

    [Fact]
    public void Arguments_Missing_AreRefused()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var x = ones(1, 1, 1, 1);
        Action[] missing =
        [
            () => TrainingNoise.Offset(null!, x, x, 0.1),
            () => TrainingNoise.Offset(x, null!, x, 0.1),
            () => TrainingNoise.Offset(x, x, null!, 0.1),
            () => TrainingNoise.MultiResolution(null!, generator, 1, 0.1),
            () => TrainingNoise.MultiResolution(x, null!, 1, 0.1),
            () => TrainingNoise.Perturbed(null!, x, 0.1),
            () => TrainingNoise.Perturbed(x, null!, 0.1),
            () => MaxNormRegularization.Apply(null!, 1),
        ];

        Assert.All(missing, static action => Assert.Throws<ArgumentNullException>(action));
    }

    [Fact]
    public void Perturbed_Noise_GainsTheVariance()
    {
        using var scope = NewDisposeScope();

        Assert.Equal(2 + 0.1f * 3, TrainingNoise.Perturbed(full([2], 2f), full([2], 3f), 0.1)[0].item<float>(), 1e-6f);
    }

    [Fact]
    public void MaxNorm_LayersAboveTheBound_GetItAndOthersStay()
    {
        using var scope = NewDisposeScope();
        using var network = new TinyNetwork();
        using var model = new AdaptedModel(network);
        using var generator = new Generator(1);
        model.Add("a", new LoraConfig { Rank = 2, Alpha = 1, TargetModules = ["to_q", "to_out", "conv"] }, generator);
        var layers = model.GetLayers("a");
        using (no_grad())
        {
            foreach (var (layer, i) in layers.Select((layer, i) => (layer, i)))
            {
                layer.Parameters["lora_B.weight"].fill_(i == 0 ? 1e-4f : 5f);
            }
        }

        double[] before = [.. layers.Select(Norm)];
        var directions = layers.Select(layer => layer.WeightDelta()!).ToList();

        var scaled = MaxNormRegularization.Apply(layers, 0.5);

        Assert.True(layers.Count > 1);
        Assert.Equal(layers.Count - 1, scaled);
        Assert.Equal(before[0], Norm(layers[0]));
        Assert.All(layers.Skip(1), layer => Assert.Equal(0.5, Norm(layer), 1e-5));
        Assert.InRange(Fixtures.MaxDifference(directions[1] * (0.5 / before[1]), layers[1].WeightDelta()!), 0, 1e-6);
        Assert.Equal(0, MaxNormRegularization.Apply(layers, 0.51));

        static double Norm(AdapterLayer layer) => layer.WeightDelta()!.norm().item<float>();
    }

    // Training images, regularization images and repeats of each → repeats of those that are taken.
    [Theory]
    [InlineData(5, 3, 1, new[] { 2, 2, 1 })]
    [InlineData(5, 9, 1, new[] { 1, 1, 1, 1, 1 })]
    [InlineData(5, 4, 2, new[] { 2, 2, 2 })]
    [InlineData(7, 1, 1, new[] { 7 })]
    public void WithRegularization_AnyNumbers_TakesAsManyAsTrainingImages(int training, int regularization, int repeats, int[] expected)
    {
        var dataset = Images(training, 1).WithRegularization(Images(regularization, repeats));

        var taken = dataset.Images.Where(image => image.IsRegularization).ToList();
        Assert.Equal(expected, taken.Select(image => image.Repeats));
        Assert.All(taken, image => Assert.StartsWith("regularization-", image.Name));
        Assert.Equal(training, dataset.Images.Count(image => !image.IsRegularization));
        Assert.Equal(taken.Sum(image => image.Repeats), new DiffusionTrainingConfig().PlanFor(dataset).RegularizationPerEpoch);
    }

    [Fact]
    public void Load_OfSavedRegularization_KeepsKindWeightAndHash()
    {
        using var folder = new TemporaryFolder();
        var dataset = new PreparedDataset(Images(2, 1).Images.Select(image => image with { LossWeight = 0.25 })).WithRegularization(Images(1, 1));
        dataset.Save(folder.In("saved"));

        var loaded = PreparedDataset.Load(folder.In("saved"));

        Assert.Equal(
            dataset.Images.Select(image => (image.IsRegularization, image.LossWeight)),
            loaded.Images.Select(image => (image.IsRegularization, image.LossWeight)));
        Assert.Equal(dataset.ComputeHash(), loaded.ComputeHash());
        Assert.NotEqual(dataset.ComputeHash(), new PreparedDataset(dataset.Images.Select(image => image with { LossWeight = 1 })).ComputeHash());
    }

    [Fact]
    public void Prepare_MetadataOfRegularization_MarksTheImageAndKeepsTheTriggerAway()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png").Image("b.png").Text("metadata.jsonl", """
            {"file_name": "a.png", "text": "portrait", "loss_weight": 0.5}
            {"file_name": "b.png", "text": "portrait", "regularization": true}
            """);

        var images = folder.Open().Prepare(new() { Resolution = 16, ResolutionStep = 8, TriggerWord = "mika" }).Images;

        Assert.Equal(
            [("mika, portrait", false, 0.5), ("portrait", true, 1)],
            images.Select(image => (image.Caption, image.IsRegularization, image.LossWeight)));
    }

    private static PreparedDataset Images(int count, int repeats) =>
        new(Enumerable.Range(0, count)
            .Select(i => new PreparedImage($"image{i}", new RgbImage(16, 16, new byte[16 * 16 * 3]), "portrait", $"{i}.png", false, repeats)));
}
