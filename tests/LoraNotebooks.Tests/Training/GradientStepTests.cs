using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What an update leaves behind when it does not take place.</summary>
public sealed class GradientStepTests : IDisposable
{
    private readonly UNet2DConditionModel _unet = new(TinyModels.UNet with { InChannels = 3, OutChannels = 3, SampleSize = 8 }, new Generator(1));
    private readonly AdaptedModel _model;
    private readonly IReadOnlyList<Parameter> _parameters;
    private readonly OptimizerRun _optimizer;
    private readonly DenoisingLoss _loss;
    private readonly GradientStep _step;
    private readonly double[] _before;

    public GradientStepTests()
    {
        _model = new AdaptedModel(_unet);
        _model.Add("a", new LoraConfig { Rank = 2, Alpha = 2, TargetModules = ["to_q"] }, new Generator(2));
        _parameters = _model.TrainableParameters("a");
        _optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("unet", _parameters, 0.1)]);
        _loss = new DenoisingLoss(_unet, new NoiseSchedule(SchedulerConfig.StableDiffusion), new DiffusionTrainingConfig());
        _step = new GradientStep(_optimizer, 1);
        _before = Weights();
    }

    public void Dispose()
    {
        _optimizer.Dispose();
        _model.Dispose();
        _unet.Dispose();
    }

    [Fact]
    public void Take_CancelledBetweenTwoBatches_DropsWhatTheyHadAccumulated()
    {
        using var source = new CancellationTokenSource();
        var drawn = 0;

        Assert.Throws<OperationCanceledException>(() => _step.Take(3, number => _loss.Of(Draw(number)), [0.1], source.Token));

        Assert.Equal(1, drawn);
        Unchanged();

        // The next step knows nothing of it.
        var fresh = _step.Take(1, _ => _loss.Of(Batch(5)), [0.1]);
        Assert.Equal(fresh.GradientNorm, AnotherNorm(), 1e-6 * fresh.GradientNorm);

        DiffusionBatch Draw(int number)
        {
            drawn++;
            source.Cancel();
            return Batch(number);
        }

        static double AnotherNorm()
        {
            using var other = new GradientStepTests();
            return other._step.Take(1, _ => other._loss.Of(Batch(5)), [0.1]).GradientNorm;
        }
    }

    [Fact]
    public void Take_CancelledBefore_DrawsNothing()
    {
        Assert.Throws<OperationCanceledException>(
            () => _step.Take(1, static _ => throw new NotSupportedException(), [0.1], new CancellationToken(canceled: true)));

        Unchanged();
    }

    [Fact]
    public void Take_LossNotFinite_EndsThereAndChangesNothing()
    {
        var drawn = new List<int>();

        var result = _step.Take(3, number => _loss.Of(Draw(number)), [0.1]);

        Assert.Equal([0, 1], drawn);
        Assert.Equal((double.NaN, double.NaN, false), (result.Loss, result.GradientNorm, result.IsFinite));
        Unchanged();

        DiffusionBatch Draw(int number)
        {
            drawn.Add(number);
            return number == 1 ? Batch(number) with { Weights = tensor(new[] { float.NaN, 1 }) } : Batch(number);
        }
    }

    [Fact]
    public void Take_BatchThatCannotBeDrawn_DropsWhatWasAccumulated()
    {
        Assert.Throws<NotSupportedException>(() => _step.Take(2, number => number == 0 ? _loss.Of(Batch(0)) : throw new NotSupportedException(), [0.1]));

        Unchanged();
    }

    [Fact]
    public void Take_Batches_AreFreedAfterTheirUse()
    {
        var drawn = new List<Tensor>();
        using var scope = NewDisposeScope();

        _step.Take(2, number => _loss.Of(Draw(number)), [0.1]);

        Assert.Equal(8, drawn.Count);
        Assert.All(drawn, tensor => Assert.True(tensor.IsInvalid));
        Assert.All(_parameters, parameter => Assert.Null(parameter.grad));
        Assert.Equal(1, _optimizer.Steps);

        DiffusionBatch Draw(int number)
        {
            Assert.All(drawn, tensor => Assert.True(tensor.IsInvalid));
            var batch = Batch(number);
            drawn.AddRange([batch.Latents, batch.Noise, batch.Timesteps, batch.Text.HiddenStates]);
            return batch;
        }
    }

    [Theory]
    [InlineData(1, 2, true)]
    [InlineData(double.NaN, 2, false)]
    [InlineData(1, double.NaN, false)]
    [InlineData(double.PositiveInfinity, 2, false)]
    [InlineData(1, double.PositiveInfinity, false)]
    public void IsFinite_LossAndNorm_BothMatter(double loss, double norm, bool expected) => Assert.Equal(expected, new UpdateResult(loss, norm).IsFinite);

    [Fact]
    public void Arguments_Missing_AreNamed()
    {
        Assert.Equal("batch", Assert.Throws<ArgumentNullException>(() => _loss.Of(null!)).ParamName);
    }

    private static DiffusionBatch Batch(int number)
    {
        using var generator = new Generator((ulong)(10 + number));
        return new DiffusionBatch(
            randn([2, 3, 8, 8], generator: generator),
            randn([2, 3, 8, 8], generator: generator),
            tensor(new long[] { 100, 900 }),
            randn([2, 4, TinyModels.UNet.CrossAttentionDim[0]], generator: generator));
    }

    private void Unchanged()
    {
        Assert.Equal(_before, Weights());
        Assert.All(_parameters, parameter => Assert.Null(parameter.grad));
        Assert.Equal(0, _optimizer.Steps);
    }

    private double[] Weights() => [.. _parameters.SelectMany(PlainTraining.Numbers)];
}
