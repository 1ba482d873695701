using LoraNotebooks.Training;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class AdamWOptimizerTests
{
    private static readonly long[][] Shapes = [[3, 4], [5], [2, 3, 1, 1], [7, 2]];

    [Fact]
    public void Step_ManySteps_GivesTorchsNumbers()
    {
        using var scope = NewDisposeScope();
        var ours = Parameters(1);
        var theirs = Parameters(1);
        using var optimizer = new AdamWOptimizer([new ParameterGroup("a", ours[..2], 0.01), new ParameterGroup("b", ours[2..], 0.1)]);
        using var first = optim.AdamW(theirs[..2], lr: 0.02, weight_decay: 0.01);
        using var second = optim.AdamW(theirs[2..], lr: 0.005, weight_decay: 0.1);

        for (var step = 0; step < 20; step++)
        {
            var expectedNorm = SetGradients(theirs, step);
            nn.utils.clip_grad_norm_(theirs, 1.0);
            first.step();
            second.step();

            SetGradients(ours, step);
            var norm = optimizer.Step([0.02, 0.005], maxNorm: 1);

            Assert.Equal(expectedNorm, norm, 1e-5 * expectedNorm);
            for (var i = 0; i < ours.Length; i++)
            {
                Assert.InRange(Fixtures.MaxDifference(theirs[i], ours[i]), 0, 2e-6);
            }
        }
    }

    [Fact]
    public void Step_ParameterWithoutGradient_IsLeftAlone()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(2);
        using var before = parameters[1].detach().clone();
        using var optimizer = new AdamWOptimizer([new ParameterGroup("all", parameters, 0.1)]);
        SetGradients(parameters, 0);
        parameters[1].grad = null;
        using var neighbour = parameters[2].detach().clone();

        optimizer.Step([0.1]);

        Assert.Equal(0, Fixtures.MaxDifference(before, parameters[1]));
        Assert.NotEqual(0, Fixtures.MaxDifference(neighbour, parameters[2]));
    }

    [Fact]
    public void Step_GradientNotFinite_ChangesNothing()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(3);
        using var optimizer = new AdamWOptimizer([new ParameterGroup("all", parameters, 0.1)]);
        SetGradients(parameters, 0);
        parameters[0].grad!.fill_(float.NaN);
        using var before = parameters[0].detach().clone();

        var norm = optimizer.Step([0.1]);

        Assert.True(double.IsNaN(norm));
        Assert.Equal(0, optimizer.Steps);
        Assert.Equal(0, Fixtures.MaxDifference(before, parameters[0]));
    }

    [Fact]
    public void Restore_SavedState_GoesOnAsIfUninterrupted()
    {
        using var scope = NewDisposeScope();
        var straight = Parameters(4);
        using var uninterrupted = new AdamWOptimizer([new ParameterGroup("all", straight, 0.01)]);
        Run(uninterrupted, straight, 0, 3);
        var state = uninterrupted.State();
        var resumed = Parameters(99);
        using var other = new AdamWOptimizer([new ParameterGroup("all", resumed, 0.01)]);

        other.Restore(state, uninterrupted.Steps);
        Run(uninterrupted, straight, 3, 6);
        Run(other, resumed, 3, 6);

        for (var i = 0; i < straight.Length; i++)
        {
            Assert.Equal(0, Fixtures.MaxDifference(straight[i], resumed[i]));
        }
    }

    [Fact]
    public void Restore_StateOfOtherParameters_IsRefused()
    {
        using var scope = NewDisposeScope();
        using var small = new AdamWOptimizer([new ParameterGroup("all", Parameters(5)[..1], 0)]);
        using var large = new AdamWOptimizer([new ParameterGroup("all", Parameters(5), 0)]);

        Assert.Throws<InvalidDataException>(() => large.Restore(small.State(), 1));
    }

    [Fact]
    public void Constructor_HalfPrecisionParameter_IsRefused()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(zeros(3, dtype: ScalarType.BFloat16));

        var error = Assert.Throws<ArgumentException>(() => new AdamWOptimizer([new ParameterGroup("all", [parameter], 0)]));
        Assert.Contains("BFloat16", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Step_ManyTimes_KeepsNoTensors()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(6);
        using var optimizer = new AdamWOptimizer([new ParameterGroup("all", parameters, 0)]);
        Run(optimizer, parameters, 0, 5);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        Run(optimizer, parameters, 5, 50);

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static void Run(AdamWOptimizer optimizer, Parameter[] parameters, int from, int to)
    {
        for (var step = from; step < to; step++)
        {
            SetGradients(parameters, step);
            optimizer.Step([0.01], 1);
        }
    }

    private static Parameter[] Parameters(ulong seed)
    {
        using var generator = new Generator(seed);
        return [.. Shapes.Select(shape => nn.Parameter(randn(shape, generator: generator)))];
    }

    /// <summary>Gradients of a step, always the same; their norm.</summary>
    private static double SetGradients(Parameter[] parameters, int step)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)(1000 + step));
        var squares = 0d;
        foreach (var parameter in parameters)
        {
            var gradient = randn(parameter.shape, generator: generator);
            squares += gradient.square().sum().item<float>();
            parameter.grad = gradient;
        }

        return Math.Sqrt(squares);
    }
}
