using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training.Optimizers;
using LoraNotebooks.Training.Pretraining;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Pretraining;

public sealed class PretrainingLoopTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly HandClock _clock = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Step s has the loss s + 1 and takes s + 1 seconds; 60 steps are told after 25, 50 and at their end.</summary>
    [Fact]
    public void Run_Progress_TellsMeansRatesAndSpeedSinceTheLastReport()
    {
        var reports = new List<PretrainingStep>();
        using var parameter = new Parameter(zeros(1));
        using var optimizer = PretrainingLoop.NewOptimizer([parameter], 0.9);

        PretrainingLoop.Run("stage", Config(), optimizer, 60, 8, 0.5,
            (step, _) =>
            {
                _clock.Pass(step + 1);
                return (parameter * 0).sum() + (float)(step + 1);
            },
            new Immediate<PretrainingStep>(report =>
            {
                reports.Add(report);
                _clock.Pass(1000);
            }), default, _clock);

        (int First, int Last)[] stretches = [(1, 25), (26, 50), (51, 60)];
        Assert.Equal(3, reports.Count);
        foreach (var ((first, last), report) in stretches.Zip(reports))
        {
            double sum = Enumerable.Range(first, last - first + 1).Sum();
            var count = last - first + 1;
            Assert.Equal(("stage", last, 60), (report.Stage, report.Step, report.Steps));
            Assert.Equal(sum / count, report.Loss, 1e-9);
            Assert.Equal(8 * count / sum, report.ImagesPerSecond, 1e-9);
            Assert.Equal(Rate(last - 1, 60, 0.5), report.LearningRate, 1e-12);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(60)]
    [InlineData(1980)]
    [InlineData(3000)]
    public void LearningRate_EveryStep_FollowsTheFormula(int steps)
    {
        for (var step = 0; step < steps; step++)
        {
            Assert.Equal(Rate(step, steps, 0.25), PretrainingLoop.LearningRate(step, steps, 0.25), 1e-15);
        }
    }

    [Fact]
    public void Run_RateAndGenerator_AreThoseOfTheStep()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(zeros(1));
        using var optimizer = PretrainingLoop.NewOptimizer([parameter], 0.9);
        var (weights, draws) = (new List<double> { 0 }, new List<float>());

        PretrainingLoop.Run("ab", Config() with { Seed = 5 }, optimizer, 4, 1, 0.5,
            (step, generator) =>
            {
                draws.Add(rand(1, generator: generator).item<float>());
                weights.Add(parameter.item<float>());
                return parameter.sum();
            },
            null, default);

        // With a gradient of one throughout, each step of AdamW is its rate, beside the decay of the weight.
        weights.Add(parameter.item<float>());
        for (var step = 0; step < 4; step++)
        {
            var rate = Rate(step, 4, 0.5);
            Assert.Equal(weights[step + 1] * (1 - 0.01 * rate) - rate, weights[step + 2], 1e-5);
            var seed = ((5 * 1_000_003L + step) * 31 + 'a') * 31 + 'b';
            Assert.Equal(rand(1, generator: new Generator((ulong)seed)).item<float>(), draws[step]);
        }
    }

    [Theory]
    [InlineData(3, 7)]
    [InlineData(1, 4)]
    [InlineData(10, 7)]
    public void Run_Saves_EverySoManyStepsAndAtTheEnd(int saveEvery, int steps)
    {
        using var parameter = new Parameter(zeros(1));
        using var optimizer = PretrainingLoop.NewOptimizer([parameter], 0.9);
        var state = _folder.In("state", "stage.safetensors");

        PretrainingLoop.Run("stage", Config() with { SaveEvery = saveEvery }, optimizer, steps, 1, 0.5,
            (step, _) =>
            {
                var saved = step / saveEvery * saveEvery;
                Assert.Equal(saved > 0, File.Exists(state));
                Assert.True(saved == 0 || RunFiles.Metadata(state)["steps"] == $"{saved}");
                return parameter.sum();
            },
            null, default);

        Assert.Equal($"{steps}", RunFiles.Metadata(state)["steps"]);
    }

    [Fact]
    public void Run_Cancelled_SavesThePresentStepAndGoesOnAfterIt()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(zeros(1));
        using var optimizer = PretrainingLoop.NewOptimizer([parameter], 0.9);
        using var source = new CancellationTokenSource();
        var taken = new List<long>();
        void Run(OptimizerRun with, Parameter of) => PretrainingLoop.Run("stage", Config(), with, 6, 1, 0.5,
            (step, _) =>
            {
                taken.Add(step);
                if (taken.Count == 3)
                {
                    source.Cancel();
                }

                return of.sum();
            },
            null, taken.Count < 3 ? source.Token : default);

        Assert.Throws<OperationCanceledException>(() => Run(optimizer, parameter));
        Assert.Equal("3", RunFiles.Metadata(_folder.In("state", "stage.safetensors"))["steps"]);
        using var again = new Parameter(ones(1));
        using var second = PretrainingLoop.NewOptimizer([again], 0.9);
        Run(second, again);
        Run(second, again);

        Assert.Equal([0, 1, 2, 3, 4, 5], taken);
        Assert.Equal(6, second.Steps);
    }

    [Fact]
    public void Run_LossNotFinite_StopsAndKeepsTheLastSave()
    {
        using var parameter = new Parameter(zeros(1));
        using var optimizer = PretrainingLoop.NewOptimizer([parameter], 0.9);

        var error = Assert.Throws<InvalidOperationException>(() => PretrainingLoop.Run("stage", Config() with { SaveEvery = 2 }, optimizer, 9, 1, 0.5,
            (step, _) => parameter.sum() * (step == 3 ? float.PositiveInfinity : 0) + (step == 3 ? float.PositiveInfinity : 0), null, default));

        Assert.Matches("^The stage's loss is (∞|NaN) at step 4\\. The state of the last save is kept; lower the learning rate \\(0\\.5\\) and run again\\.$",
            error.Message);
        Assert.Equal("2", RunFiles.Metadata(_folder.In("state", "stage.safetensors"))["steps"]);
        Assert.Equal(3, optimizer.Steps);
    }

    [Fact]
    public void Validate_WrongSettings_AreEachNamed()
    {
        File.WriteAllText(_folder.In("metadata.jsonl"), "");
        var good = Config();
        (PretrainingConfig Wrong, string Fault)[] wrong =
        [
            (good with { Corpus = _folder.In("none") }, $"Corpus: {_folder.In("none")} has no metadata.jsonl; make the portraits first (datasets/README.md)"),
            (good with { AutoencoderSteps = 0 }, "AutoencoderSteps: got 0, expected 1 or more"),
            (good with { AutoencoderBatch = 0 }, "AutoencoderBatch: got 0, expected 1 or more"),
            (good with { DecoderSteps = -1 }, "DecoderSteps: got -1, expected 0 or more"),
            (good with { DenoiserSteps = 0 }, "DenoiserSteps: got 0, expected 1 or more"),
            (good with { DenoiserBatch = 0 }, "DenoiserBatch: got 0, expected 1 or more"),
            (good with { AutoencoderLearningRate = 0 }, "AutoencoderLearningRate: got 0, expected between 0 and 1"),
            (good with { AutoencoderLearningRate = 1 }, "AutoencoderLearningRate: got 1, expected between 0 and 1"),
            (good with { DenoiserLearningRate = 0 }, "DenoiserLearningRate: got 0, expected between 0 and 1"),
            (good with { DenoiserLearningRate = 1 }, "DenoiserLearningRate: got 1, expected between 0 and 1"),
            (good with { AverageDecay = -0.5 }, "AverageDecay: got -0.5, expected 0 to below 1"),
            (good with { AverageDecay = 1 }, "AverageDecay: got 1, expected 0 to below 1"),
            (good with { KlWeight = -1 }, "KlWeight: got -1, expected 0 or more"),
            (good with { SaveEvery = 0 }, "SaveEvery: got 0, expected 1 or more"),
        ];

        Assert.All(wrong, static pair => Assert.Equal([pair.Fault], pair.Wrong.Validate()));
        Assert.Empty(good.Validate());
        Assert.Empty((good with
        {
            AutoencoderSteps = 1,
            AutoencoderBatch = 1,
            DecoderSteps = 0,
            DenoiserSteps = 1,
            DenoiserBatch = 1,
            AverageDecay = 0,
            KlWeight = 0,
            SaveEvery = 1,
            AutoencoderLearningRate = 0.5,
            DenoiserLearningRate = 0.5
        }).Validate());
        Assert.Throws<ArgumentException>((good with { SaveEvery = 0 }).ThrowIfInvalid);
    }

    [Fact]
    public void PretrainingConfig_Defaults_AreThoseOfItsComments()
    {
        var config = new PretrainingConfig { Corpus = "a", Output = _folder.In("model") };

        Assert.Equal((9_000, 12, 1.5e-3, 2e-4, 3_000),
            (config.AutoencoderSteps, config.AutoencoderBatch, config.AutoencoderLearningRate, config.KlWeight, config.DecoderSteps));
        Assert.Equal((6_000, 32, 8e-4, 0.999), (config.DenoiserSteps, config.DenoiserBatch, config.DenoiserLearningRate, config.AverageDecay));
        Assert.Equal((true, 1L, 250), (config.BFloat16, config.Seed, config.SaveEvery));
        Assert.Equal(_folder.In("model-state"), config.StateFolder);
        Assert.Equal("elsewhere", (config with { State = "elsewhere" }).StateFolder);
        Assert.Equal((ScalarType.BFloat16, ScalarType.Float32),
            (AutoencoderPretraining.DType(config), AutoencoderPretraining.DType(config with { BFloat16 = false })));
    }

    private PretrainingConfig Config() => new() { Corpus = _folder.Path, Output = _folder.In("out"), State = _folder.In("state") };

    /// <summary>A warm-up of a tenth of the steps and one, 200 at most, then half a cosine wave down to 2 %.</summary>
    private static double Rate(int step, int steps, double peak)
    {
        var warmUp = Math.Min(200, steps / 10 + 1);
        return step < warmUp
            ? peak * (step + 1) / warmUp
            : peak * (0.02 + 0.98 * (1 + Math.Cos(Math.PI * (step - warmUp) / Math.Max(1, steps - warmUp))) / 2);
    }
}
