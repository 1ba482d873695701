using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tests.Adapters;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>That no scalar is freed while libtorch reads it, whatever other threads do.</summary>
public sealed class ScalarTests
{
    private const string TensorType = "TorchSharp.torch+Tensor";

    [Fact]
    public void Library_NowhereMakesAScalarThatNobodyHolds() => Assert.Equal("", string.Join("\n", ScalarUse.Faults(typeof(LoraConfig).Assembly.Location)));

    [Theory]
    [InlineData($"{TensorType}::op_Addition({TensorType}, {TensorType})")]
    [InlineData($"{TensorType}::op_Multiply({TensorType}, Double)")]
    [InlineData($"{TensorType}::square()")]
    [InlineData("TorchSharp.torch+nn::LeakyReLU(Double, Boolean)")]
    public void ScalarUse_MethodThatMakesAScalarInside_IsFound(string method) => Assert.Contains(method, ScalarUse.UnsafeMethods);

    [Theory]
    [InlineData($"{TensorType}::op_Multiply({TensorType}, {TensorType})")]
    [InlineData($"{TensorType}::add({TensorType}, TorchSharp.Scalar)")]
    public void ScalarUse_MethodThatMakesNone_IsNotFound(string method) => Assert.DoesNotContain(method, ScalarUse.UnsafeMethods);

    [Fact]
    public void ScalarUse_AssemblyWithPlainOperators_NamesTheCallers()
    {
        static Tensor Local(Tensor x) => x - 1;
        Func<Tensor, Tensor> lambda = static x => 1 - Local(x);
        var faults = ScalarUse.Faults(typeof(ScalarTests).Assembly.Location);

        Assert.NotNull(lambda);
        Assert.DoesNotContain(faults, static fault => fault.Contains(nameof(TinyNetwork)));
        Assert.Contains(faults, static fault => fault.Contains("g__Local") && fault.EndsWith($"calls {TensorType}::op_Subtraction({TensorType}, Int32)"));
        Assert.Contains(faults, static fault => fault.Contains("+<>c::") && fault.EndsWith($"calls {TensorType}::op_Subtraction(Int32, {TensorType})"));
        Assert.Contains(faults, static fault => fault.Contains($"+<{nameof(PlainOperations)}>") && fault.Contains("::MoveNext() calls"));
    }

    [Fact]
    public void Arithmetic_Operations_EqualTorchSharps()
    {
        using var scope = NewDisposeScope();
        var x = linspace(-2, 3, 24).view(4, 6).sin();
        var whole = arange(1, 7, ScalarType.Int64);
        Tensor[] held =
        [
            x.Plus(2), x.Minus(0.3), x.Times(0.1f), x.Over(3), x.Squared(), x.ToThe(3), x.Plus(x.cos()), x.Plus(x.cos(), times: 0.7), x.PlusProduct(x, x),
            x.Within(-0.5, 0.5), x.AtMost(0.2), x.AtLeast(0.2), x.Is(0), x.IsNot(0), x.IsBelow(0.1),
            whole.Plus(2), whole.Plus(2.5), whole.Times(2L), whole.Times(2f), whole.Over(2), whole.Squared(),
            x.clone().Plus_(2), x.clone().Minus_(0.3), x.clone().Times_(0.1), x.clone().Over_(3), x.clone().Plus_(x.cos()),
            x.clone().Plus_(x.cos(), times: 0.7), x.clone().PlusProduct_(x, x, 0.3), x.clone().PlusQuotient_(x, x.cos(), 0.3),
            Arithmetic.Range(5), Arithmetic.Range(2, 5, ScalarType.Int64), Arithmetic.Full([2, 3], 0.1, ScalarType.Float32), Arithmetic.FullLike(whole, 3),
            (0.3 * (Term)x + x * (Term)x - 2).Tensor, (1 - (Term)x / 3).Tensor, (2 / (Term)x - x / (Term)x.cos()).Tensor,
        ];

        Assert.Equal(held.Length, PlainOperations(x, whole).Count());
        Assert.All(held.Zip(PlainOperations(x, whole)), static pair =>
        {
            Assert.Equal(pair.Second.dtype, pair.First.dtype);
            Assert.Equal(pair.Second.shape, pair.First.shape);
            Assert.Equal(0, (pair.First.to(ScalarType.Float64) - pair.Second.to(ScalarType.Float64)).abs().max().item<double>());
        });
    }

    // With plain operators some of so many sums fail; how many fail of millions, the benchmark "scalars" prints.
    [Fact]
    public void Library_WhileOtherThreadsCollect_ComputesAsAlone()
    {
        using var scope = NewDisposeScope();
        using var network = new TinyNetwork();
        using var generator = new Generator(5);
        using var adapted = new AdaptedModel(network);
        adapted.Add("a", new() { Rank = 2, TargetModules = ["to_q", "to_out", "conv"] }, generator);
        using (no_grad())
        {
            adapted.TrainableParameters("a").ToList().ForEach(parameter => parameter.normal_(0, 0.4, generator));
        }


        var schedule = new NoiseSchedule(new() { NumTrainTimesteps = 10, BetaStart = 0.01, BetaEnd = 0.3 });
        var noise = linspace(-1, 1, 24).view(2, 3, 2, 2);
        var timesteps = tensor(new long[] { 3, 8 });
        var x = linspace(-2, 3, 4);
        var (sum, thrice, noisy, gradients) = (x.Plus(2.5), x.Times(3), schedule.AddNoise(noise.cos(), noise, timesteps), Gradients());
        var failures = 0;
        using (new Collectors(3))
        {
            for (var i = 0; i < 30_000; i++)
            {
                using var step = NewDisposeScope();
                failures += Same(x.Plus(2.5), sum) && Same(x.Times(3), thrice) ? 0 : 1;
                failures += i % 100 > 0 || Same(schedule.AddNoise(noise.cos(), noise, timesteps), noisy) ? 0 : 1;
                failures += i % 1000 > 0 || Gradients().Zip(gradients).All(static pair => Same(pair.First, pair.Second)) ? 0 : 1;
            }
        }

        Assert.Equal(0, failures);

        static bool Same(Tensor found, Tensor expected) => found.data<float>().SequenceEqual(expected.data<float>());

        List<Tensor> Gradients()
        {
            using var pass = NewDisposeScope();
            network.Run().Squared().sum().backward();
            List<Tensor> found = [.. adapted.TrainableParameters("a").Select(static parameter => parameter.grad!.clone().MoveToOuterDisposeScope())];
            foreach (var parameter in adapted.TrainableParameters("a"))
            {
                parameter.grad = null;
            }

            return found;
        }
    }

    private static IEnumerable<Tensor> PlainOperations(Tensor x, Tensor whole)
    {
        foreach (var result in (Tensor[])[x + 2, x - 0.3, x * 0.1f, x / 3, x.square(), x.pow(3), x + x.cos(), x.add(x.cos(), 0.7), x.addcmul(x, x, 1)])
        {
            yield return result;
        }

        yield return x.clamp(-0.5, 0.5);
        yield return x.clamp(max: 0.2);
        yield return x.clamp(min: 0.2);
        yield return x.eq(0);
        yield return x.ne(0);
        yield return x.lt(0.1);
        yield return whole + 2;
        yield return whole + 2.5;
        yield return whole * 2L;
        yield return whole * 2f;
        yield return whole / 2;
        yield return whole.square();
        yield return x.clone().add_(2);
        yield return x.clone().sub_(0.3);
        yield return x.clone().mul_(0.1);
        yield return x.clone().div_(3);
        yield return x.clone().add_(x.cos());
        yield return x.clone().add_(x.cos(), 0.7);
        yield return x.clone().addcmul_(x, x, 0.3);
        yield return x.clone().addcdiv_(x, x.cos(), 0.3);
        yield return arange(5);
        yield return arange(2, 5, ScalarType.Int64);
        yield return full([2, 3], 0.1, ScalarType.Float32);
        yield return full_like(whole, 3);
        yield return 0.3 * x + x * x - 2;
        yield return 1 - x / 3;
        yield return 2 / x - x / x.cos();
    }
}
