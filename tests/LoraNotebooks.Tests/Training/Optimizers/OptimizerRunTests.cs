using LoraNotebooks.Training.Optimizers;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Optimizers;

/// <summary>An optimizer at work, AdamW's: its numbers, its parameters, its states.</summary>
public sealed class OptimizerRunTests
{
    private static readonly long[][] Shapes = [[3, 4], [5], [2, 3, 1, 1], [7, 2]];

    [Fact]
    public void Step_ManySteps_GivesTorchsNumbers()
    {
        using var scope = NewDisposeScope();
        var ours = Parameters(1);
        var theirs = Parameters(1);
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("a", ours[..2], 0.01), new ParameterGroup("b", ours[2..], 0.1)]);
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

    // The norm of the gradients of the first step is about 6.
    [Theory]
    [InlineData(null)]
    [InlineData(1d)]
    [InlineData(1e3)]
    public void Step_AnyConstants_GivesTheNumbersOfAPlainLoop(double? maxNorm)
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(1);
        double[] decays = [0.3, 0.3, 0, 0.7];
        double[] rates = [0.02, 0.02, 0.005, 0];
        var values = parameters.Select(PlainTraining.Numbers).ToArray();
        var (m, v) = (values.Select(x => new double[x.Length]).ToArray(), values.Select(x => new double[x.Length]).ToArray());
        using var optimizer = new OptimizerRun(
            new AdamWOptimizer { Beta1 = 0.8, Beta2 = 0.9, Epsilon = 0.05 },
            [
                new ParameterGroup("a", parameters[..2], 0.3),
                new ParameterGroup("none", [], 1),
                new ParameterGroup("b", parameters[2..3], 0),
                new ParameterGroup("c", parameters[3..], 0.7),
            ]);

        for (var step = 1; step <= 5; step++)
        {
            // In the third step a parameter in the middle has none.
            var norm = SetGradients(parameters, step);
            if (step == 3)
            {
                norm = Math.Sqrt((norm * norm) - PlainTraining.Numbers(parameters[1].grad!).Sum(g => g * g));
                parameters[1].grad = null;
            }

            Assert.Equal(norm, optimizer.Step([0.02, 9, 0.005, 0], maxNorm), 1e-5 * norm);
            Assert.Equal(step, optimizer.Steps);
            Assert.Equal(step == 3 ? [parameters[1]] : [], optimizer.WithoutGradient);
            for (var i = 0; i < parameters.Length; i++)
            {
                var gradient = parameters[i].grad is { } found ? PlainTraining.Numbers(found) : null;
                for (var j = 0; gradient is not null && j < gradient.Length; j++)
                {
                    var g = gradient[j] * (norm > maxNorm ? maxNorm.Value / norm : 1);
                    m[i][j] = (0.8 * m[i][j]) + (0.2 * g);
                    v[i][j] = (0.9 * v[i][j]) + (0.1 * g * g);
                    var direction = m[i][j] / (1 - Math.Pow(0.8, step)) / (Math.Sqrt(v[i][j] / (1 - Math.Pow(0.9, step))) + 0.05);
                    values[i][j] -= rates[i] * (direction + (decays[i] * values[i][j]));
                }

                Assert.All(values[i].Zip(PlainTraining.Numbers(parameters[i])), pair => Assert.Equal(pair.First, pair.Second, 2e-6));
            }
        }
    }

    [Fact]
    public void Constructor_NoConstantsGiven_TakesTheUsualOnes()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(zeros(1));
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", [parameter], 0)]);
        parameter.grad = full([1], 1e-8f);

        optimizer.Step([1]);

        // g/(g + ε) with g = ε, and moments of 0.1·g and 0.001·g².
        Assert.Equal(-0.5, parameter.item<float>(), 1e-5);
        var state = optimizer.State();
        Assert.Equal(["weights", "first_moment", "second_moment"], state.Keys);
        Assert.Equal(0.1, state["first_moment"].item<float>() / 1e-8, 1e-6);
        Assert.Equal(0.001, state["second_moment"].item<float>() / 1e-16, 1e-6);
        Assert.Equal(-0.5, state["weights"].item<float>(), 1e-5);
    }

    [Fact]
    public void Step_NormAtTheBound_IsNotClipped()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(zeros(2));
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", [parameter], 0)]);

        // Upstream divides by ‖g‖ + 1e-6, so that a bound that much above the norm still clips by nothing.
        parameter.grad = tensor(new[] { 3f, 4 });
        Assert.Equal(5, optimizer.Step([1], 5 + 2e-6));
        Assert.Equal(0.3, optimizer.State()["first_moment"][0].item<float>(), 1e-7);

        parameter.grad = tensor(new[] { 3f, 4 });
        Assert.Equal(5, optimizer.Step([1], 2.5));
        Assert.Equal((0.9 * 0.3) + (0.1 * 1.5), optimizer.State()["first_moment"][0].item<float>(), 1e-6);

        // Beside a small norm the summand is much: 3e-6/(3e-6 + 1e-6).
        using var small = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", [nn.Parameter(zeros(1))], 0)]);
        small.Groups[0].Parameters[0].grad = full([1], 3e-6f);
        small.Step([1], 3e-6);
        Assert.Equal(0.1 * 0.75 * 3, small.State()["first_moment"].item<float>() * 1e6, 1e-5);

        // The caller's gradients stay as they are.
        Assert.Equal([3, 4], parameter.grad!.data<float>().ToArray());
        optimizer.ClearGradients();
        Assert.Null(parameter.grad);
    }

    [Fact]
    public void Step_WrongCalls_SayWhatIsExpected()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(1);
        using var optimizer = new OptimizerRun(
            new AdamWOptimizer(),
            [new ParameterGroup("a", parameters[..2], 0), new ParameterGroup("b", parameters[2..], 0)]);

        Assert.Contains(
            "Got 1 learning rates, expected 2, one for each group.",
            Assert.Throws<ArgumentException>(() => optimizer.Step([0.1])).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "No parameter has a gradient. Call backward",
            Assert.Throws<InvalidOperationException>(() => optimizer.Step([0.1, 0.1])).Message,
            StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>(() => optimizer.Step(null!));
        Assert.Throws<ArgumentNullException>(() => optimizer.Restore(null!, 1));
        Assert.Throws<ArgumentNullException>(() => new OptimizerRun(new AdamWOptimizer(), null!));
        Assert.Contains(
            "Got no parameters, expected at least one.",
            Assert.Throws<ArgumentException>(() => new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("a", [], 0)])).Message,
            StringComparison.Ordinal);
        Assert.Equal(["a", "b"], optimizer.Groups.Select(group => group.Name));
    }

    [Fact]
    public void Constructor_Parameters_KeepTheirValuesAndShapes()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(1);
        var before = parameters.Select(PlainTraining.Numbers).ToArray();

        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", parameters, 0)]);

        Assert.Equal(before, parameters.Select(PlainTraining.Numbers));
        Assert.Equal(Shapes, parameters.Select(parameter => parameter.shape));
        Assert.Equal(before.SelectMany(x => x), PlainTraining.Numbers(optimizer.State()["weights"]));
        Assert.All(["first_moment", "second_moment"], name => Assert.All(PlainTraining.Numbers(optimizer.State()[name]), value => Assert.Equal(0, value)));
        Assert.All(parameters, parameter => Assert.True(parameter.requires_grad));
    }

    [Fact]
    public void Dispose_Optimizer_FreesItsMomentsAndLeavesTheParameters()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(1);
        var before = parameters.Select(PlainTraining.Numbers).ToArray();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", parameters, 0)]).Dispose();

        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        Assert.Equal(before, parameters.Select(PlainTraining.Numbers));
    }

    [Fact]
    public void Step_ParameterWithoutGradient_IsLeftAlone()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(2);
        using var before = parameters[1].detach().clone();
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", parameters, 0.1)]);
        SetGradients(parameters, 0);
        parameters[1].grad = null;
        using var neighbour = parameters[2].detach().clone();

        optimizer.Step([0.1]);

        Assert.Equal(0, Fixtures.MaxDifference(before, parameters[1]));
        Assert.NotEqual(0, Fixtures.MaxDifference(neighbour, parameters[2]));
        Assert.Equal([parameters[1]], optimizer.WithoutGradient);
    }

    [Fact]
    public void Step_GradientNotFinite_ChangesNothing()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(3);
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", parameters, 0.1)]);
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
        using var uninterrupted = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", straight, 0.01)]);
        Run(uninterrupted, straight, 0, 3);
        var state = uninterrupted.State();
        var resumed = Parameters(99);
        using var other = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", resumed, 0.01)]);

        other.Restore(state, uninterrupted.Steps);
        Assert.Equal(3, other.Steps);
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
        using var small = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", Parameters(5)[..1], 0)]);
        using var large = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", Parameters(5), 0)]);

        var before = PlainTraining.Numbers(large.State()["weights"]);
        var partial = large.State();
        partial["weights"].fill_(7);
        partial["second_moment"] = zeros(1);
        partial.Remove("first_moment");

        Assert.Contains(
            "does not fit: weights, first_moment, second_moment missing or not 37 numbers long. "
                + "Resume with the adapter configuration that the state was made with",
            Assert.Throws<InvalidDataException>(() => large.Restore(small.State(), 1)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "does not fit: first_moment, second_moment missing",
            Assert.Throws<InvalidDataException>(() => large.Restore(partial, 1)).Message,
            StringComparison.Ordinal);
        Assert.Equal(before, PlainTraining.Numbers(large.State()["weights"]));
        Assert.Equal(0, large.Steps);
    }

    [Fact]
    public void Constructor_HalfPrecisionParameter_IsRefused()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(zeros(3, dtype: ScalarType.BFloat16));

        var error = Assert.Throws<ArgumentException>(() => new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", [parameter], 0)]));
        Assert.Contains("Got a parameter of type BFloat16, expected Float32", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Step_ManyTimes_KeepsNoTensors()
    {
        using var scope = NewDisposeScope();
        var parameters = Parameters(6);
        using var optimizer = new OptimizerRun(new AdamWOptimizer(), [new ParameterGroup("all", parameters, 0)]);
        Run(optimizer, parameters, 0, 5);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        Run(optimizer, parameters, 5, 50);

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static void Run(OptimizerRun optimizer, Parameter[] parameters, int from, int to)
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
