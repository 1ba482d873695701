using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training.Pretraining;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Pretraining;

public sealed class AveragedAdamWTests
{
    [Theory]
    [InlineData(0.5, 0.9, 0.99, 0.01, 1.0)]
    [InlineData(0.2, 0.8, 0.9, 0.3, 0.5)]
    [InlineData(0.0, 0.9, 0.99, 0.0, 100.0)]
    public void Step_SomeGradients_FollowsTheFormulas(double averageDecay, double beta1, double beta2, double weightDecay, double maxNorm)
    {
        using var scope = NewDisposeScope();
        double[] theta = [0.5, -1, 2, 0.25, -0.125, 1];
        using var first = new Parameter(tensor(theta[..4].Select(static x => (float)x).ToArray(), [2, 2]));
        using var second = new Parameter(tensor(theta[4..].Select(static x => (float)x).ToArray()));
        using var optimizer = new AveragedAdamW([first, second], averageDecay, beta1, beta2, weightDecay);
        var (m, v, average) = (new double[6], new double[6], theta.ToArray());
        var random = new Random(1);

        for (var t = 1; t <= 12; t++)
        {
            // The second parameter has no gradient in every third step.
            double[] g = [.. Enumerable.Range(0, 6).Select(i => i >= 4 && t % 3 == 0 ? 0 : (float)((random.NextDouble() - 0.4) * (t % 2 == 0 ? 0.1 : 2)))];
            first.grad = tensor(g[..4].Select(static x => (float)x).ToArray(), [2, 2]);
            second.grad = t % 3 == 0 ? null : tensor(g[4..].Select(static x => (float)x).ToArray());
            var eta = 0.01 * t;

            var norm = optimizer.Step(eta, maxNorm);

            var length = Math.Sqrt(g.Sum(static x => x * x));
            Assert.Equal(length, norm, 1e-5);
            for (var i = 0; i < 6; i++)
            {
                var clipped = length > maxNorm ? g[i] * maxNorm / (length + 1e-6) : g[i];
                m[i] = beta1 * m[i] + (1 - beta1) * clipped;
                v[i] = beta2 * v[i] + (1 - beta2) * clipped * clipped;
                theta[i] -= eta * weightDecay * theta[i] + eta * (m[i] / (1 - Math.Pow(beta1, t))) / (Math.Sqrt(v[i] / (1 - Math.Pow(beta2, t))) + 1e-8);
                var decay = Math.Min(averageDecay, (1.0 + t) / (10.0 + t));
                average[i] = decay * average[i] + (1 - decay) * theta[i];
            }

            Close(theta, first, second);
            optimizer.UseAverage();
            Close(average, first, second);
            optimizer.UseMaster();
            Close(theta, first, second);
            Assert.True(first.grad is null && second.grad is null);
            Assert.Equal(t, optimizer.Steps);
        }
    }

    [Fact]
    public void Step_Defaults_AreThoseOfTheBase()
    {
        using var scope = NewDisposeScope();
        Assert.Equal(Weights(static parameters => new AveragedAdamW(parameters, 0.5, 0.9, 0.99, 0.01), static (optimizer, rate) => optimizer.Step(rate, 1)),
            Weights(static parameters => new AveragedAdamW(parameters, 0.5), static (optimizer, rate) => optimizer.Step(rate)));

        static float[] Weights(Func<IReadOnlyList<Parameter>, AveragedAdamW> create, Func<AveragedAdamW, double, double> step)
        {
            using var parameter = new Parameter(ones(3));
            using var optimizer = create([parameter]);
            for (var t = 0; t < 3; t++)
            {
                parameter.grad = tensor(new float[] { 3, -4, t });
                step(optimizer, 0.1);
            }

            return parameter.detach().data<float>().ToArray();
        }
    }

    [Fact]
    public void Step_BFloat16_KeepsUpdatesThatItsTypeCannotHold()
    {
        using var scope = NewDisposeScope();
        using var parameter = new Parameter(ones(1, bfloat16));
        using var optimizer = new AveragedAdamW([parameter], 0.5, weightDecay: 0);
        var seen = new List<float>();
        for (var t = 0; t < 40; t++)
        {
            parameter.grad = ones(1, bfloat16);
            optimizer.Step(1e-4);
            seen.Add(parameter.to(float32).item<float>());
        }

        // From 1 down in steps of 0.0001: below 1 − 2⁻⁹ the next number of the type is nearer, 1 − 2⁻⁸.
        Assert.All(seen.Take(19), static value => Assert.Equal(1, value));
        Assert.All(seen.Skip(20), static value => Assert.Equal(1 - 1 / 256f, value));
        Assert.Equal(ScalarType.BFloat16, parameter.dtype);
    }

    [Fact]
    public void Load_SavedState_GoesOnAsIfNeverStopped()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var straight = new Parameter(tensor(new float[] { 1, 2, 3 }));
        using var resumed = new Parameter(zeros(3));
        using var optimizer = new AveragedAdamW([straight], 0.9);
        Step(optimizer, straight, 3);
        optimizer.UseAverage();
        var averaged = Numbers(straight);
        optimizer.UseMaster();

        optimizer.Save(folder.In("state.safetensors"));
        using var other = new AveragedAdamW([resumed], 0.9);
        other.Load(folder.In("state.safetensors"));

        Assert.Equal(3, other.Steps);
        Assert.Equal(Numbers(straight), Numbers(resumed));
        other.UseAverage();
        Assert.Equal(averaged, Numbers(resumed));
        other.UseMaster();
        Step(optimizer, straight, 4);
        Step(other, resumed, 4);
        Assert.Equal(Numbers(straight), Numbers(resumed));
        optimizer.UseAverage();
        other.UseAverage();
        Assert.Equal(Numbers(straight), Numbers(resumed));
        using var file = SafetensorsFile.Open(folder.In("state.safetensors"));
        Assert.Equal(["average", "first_moment", "master", "second_moment"], file.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("3", file.Metadata["steps"]);

        static void Step(AveragedAdamW optimizer, Parameter parameter, int steps)
        {
            for (var i = 0; i < steps; i++)
            {
                parameter.grad = tensor(new float[] { 0.5f, -0.25f, i });
                optimizer.Step(0.1);
            }
        }
    }

    [Fact]
    public void Load_StateOfAnotherSize_SaysBoth()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var three = new Parameter(zeros(3));
        using var two = new Parameter(ones(2));
        using var optimizer = new AveragedAdamW([three], 0.9);
        optimizer.Save(folder.In("state.safetensors"));
        using var other = new AveragedAdamW([two], 0.9);

        var message = Assert.Throws<InvalidDataException>(() => other.Load(folder.In("state.safetensors"))).Message;

        Assert.Equal(
            $"{folder.In("state.safetensors")} holds 3 weights, this model has 2. "
            + "Delete the file to start over, or train with the configuration it was made with.",
            message);
        Assert.Equal([1, 1], Numbers(two));
    }

    [Fact]
    public void Dispose_AfterSteps_LeavesNoTensorBehind()
    {
        using var parameter = new Parameter(zeros(3));
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (var optimizer = new AveragedAdamW([parameter], 0.9))
        {
            using var scope = NewDisposeScope();
            parameter.grad = ones(3);
            optimizer.Step(0.1);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static float[] Numbers(Tensor tensor) => tensor.detach().data<float>().ToArray();

    private static void Close(double[] expected, params Tensor[] tensors)
    {
        float[] actual = [.. tensors.SelectMany(Numbers)];
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], 2e-5);
        }
    }
}
