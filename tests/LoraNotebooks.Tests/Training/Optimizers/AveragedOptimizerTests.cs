using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using LoraNotebooks.Training.Pretraining;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Optimizers;

public sealed class AveragedOptimizerTests
{
    [Theory]
    [InlineData(0.5)]
    [InlineData(0.2)]
    [InlineData(0.0)]
    public void Update_SomeGradients_AveragesWhatTheInnerOptimizerMakes(double decay)
    {
        using var scope = NewDisposeScope();
        double[] theta = [0.5, -1, 2, 0.25, -0.125, 1];
        using var first = new Parameter(tensor(theta[..4].Select(static x => (float)x).ToArray(), [2, 2]));
        using var second = new Parameter(tensor(theta[4..].Select(static x => (float)x).ToArray()));
        using var optimizer = new OptimizerRun(
            new AveragedOptimizer { Inner = new AdamWOptimizer { Beta1 = 0.8, Beta2 = 0.9 }, Decay = decay }, [new("all", [first, second], 0.3)]);
        var (m, v, average) = (new double[6], new double[6], theta.ToArray());
        var random = new Random(1);
        for (var t = 1; t <= 12; t++)
        {
            double[] g = [.. Enumerable.Range(0, 6).Select(_ => (double)(float)((random.NextDouble() - 0.4) * (t % 2 == 0 ? 0.1 : 2)))];
            first.grad = tensor(g[..4].Select(static x => (float)x).ToArray(), [2, 2]);
            second.grad = tensor(g[4..].Select(static x => (float)x).ToArray());
            var eta = 0.01 * t;
            optimizer.UseTrainingWeights();

            optimizer.Step([eta]);

            for (var i = 0; i < 6; i++)
            {
                m[i] = 0.8 * m[i] + 0.2 * g[i];
                v[i] = 0.9 * v[i] + 0.1 * g[i] * g[i];
                theta[i] -= eta * 0.3 * theta[i] + eta * (m[i] / (1 - Math.Pow(0.8, t))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.9, t))) + 1e-8);
                var beta = Math.Min(decay, (1.0 + t) / (10.0 + t));
                average[i] = beta * average[i] + (1 - beta) * theta[i];
            }

            Close(theta, first, second);
            optimizer.UseEvaluationWeights();
            Close(average, first, second);
        }
    }

    [Fact]
    public void Update_ParameterWithoutGradient_IsItsOwnAverage()
    {
        using var scope = NewDisposeScope();
        using var moved = new Parameter(ones(2));
        using var left = new Parameter(ones(2) * 3);
        using var optimizer = new OptimizerRun(new AveragedOptimizer(), [new("all", [moved, left], 0.1)]);
        moved.grad = ones(2);

        optimizer.Step([0.1]);
        optimizer.UseEvaluationWeights();

        Close([3, 3], left);
    }

    [Fact]
    public void Step_BFloat16WithMasters_KeepsUpdatesThatItsTypeCannotHold()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(ones(1, bfloat16));
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new("all", [parameter], 0)], allowsLowerTypes: true);
        var seen = new List<float>();
        for (var t = 0; t < 40; t++)
        {
            parameter.grad = ones(1, bfloat16);
            optimizer.Step([1e-4]);
            seen.Add(parameter.to(float32).item<float>());
        }

        // From 1 down in steps of 0.0001: below 1 − 2⁻⁹ the next number of the type is nearer, 1 − 2⁻⁸.
        Assert.All(seen.Take(19), static value => Assert.Equal(1, value));
        Assert.All(seen.Skip(20), static value => Assert.Equal(1 - 1 / 256f, value));
        Assert.Equal(ScalarType.BFloat16, parameter.dtype);
        Assert.Equal(1 - 40e-4, optimizer.State()["weights"].item<float>(), 1e-6);
    }

    [Fact]
    public void Load_SavedState_GoesOnAsIfNeverStopped()
    {
        using var scope = NewDisposeScope();
        using var straight = new Parameter(tensor(new float[] { 1, 2, 3 }));
        using var resumed = new Parameter(zeros(3, bfloat16));
        using var optimizer = PretrainingLoop.NewOptimizer([straight], 0.9);
        using var other = PretrainingLoop.NewOptimizer([resumed], 0.9);
        Steps(optimizer, straight, 3);

        other.Restore(optimizer.State(), 3);

        Assert.Equal(optimizer.State()["average"].data<float>().ToArray(), other.State()["average"].data<float>().ToArray());
        Assert.Equal(straight.to(bfloat16).to(float32).data<float>().ToArray(), resumed.to(float32).data<float>().ToArray());
        Steps(optimizer, straight, 4);
        Steps(other, resumed, 4);
        Assert.Equal(optimizer.State()["weights"].data<float>().ToArray(), other.State()["weights"].data<float>().ToArray());
        Assert.Equal(["average", "first_moment", "second_moment", "weights"], other.State().Keys.Order(StringComparer.Ordinal));

        static void Steps(OptimizerRun optimizer, Parameter parameter, int steps)
        {
            for (var i = 0; i < steps; i++)
            {
                parameter.grad = tensor(new float[] { 0.5f, -0.25f, i }).to(parameter.dtype);
                optimizer.Step([0.1]);
                optimizer.ClearGradients();
            }
        }
    }

    [Fact]
    public void Train_WeightAverage_IsWhatIsDrawnAndWritten()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.Create();
        var optimizer = new AveragedOptimizer { Decay = 0.5 };
        var config = TinyRun.Config(folder.Path) with { Optimizer = optimizer };
        Assert.Empty(config.Validate());

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);

        using var scope = NewDisposeScope();
        var state = SafetensorsFile.LoadAll(result.StateFile);
        double[] written = RunFiles.Numbers(result.File);
        double[] live = [.. result.Lora.UNetParameters.SelectMany(PlainTraining.Numbers)];
        Assert.Equal(PlainTraining.Numbers(state["average"]), live);
        Assert.NotEqual(PlainTraining.Numbers(state["weights"]), live);
        Assert.Subset(written.ToHashSet(), live.ToHashSet());
        Assert.StartsWith("LoraNotebooks.Training.Optimizers.AveragedOptimizer(weight_decay=0.01,decay=0.5)", RunFiles.Metadata(result.File)["ss_optimizer"]);
        Assert.Equal(optimizer, TrainingConfig.FromJson<DiffusionTrainingConfig>(config.ToJson()).Optimizer);
    }

    [Fact]
    public void Validate_WrongOptions_AreEachNamed()
    {
        Assert.Equal(
            ["Decay: got 1, expected 0 to below 1; 0.999 is usual", "Inner.Beta1: got -1, expected 0 or more and less than 1; 0.9 is usual"],
            new AveragedOptimizer { Decay = 1, Inner = new AdamWOptimizer { Beta1 = -1 } }.Validate());
        Assert.Equal(
            ["Inner: got Averaged, expected an optimizer without weights of its own for evaluation"],
            new AveragedOptimizer { Inner = new AveragedOptimizer() }.Validate());
    }

    private static void Close(double[] expected, params Tensor[] tensors)
    {
        float[] actual = [.. tensors.SelectMany(static tensor => tensor.detach().data<float>().ToArray())];
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], 2e-5);
        }
    }
}
