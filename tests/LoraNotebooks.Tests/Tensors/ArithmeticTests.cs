using LoraNotebooks.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Tensors;

/// <summary>Sums and products beside plain numbers in float64, and what is said of numbers that are not finite or not the same.</summary>
public sealed class ArithmeticTests
{
    private static readonly double[] X = [-2.5, -1, -0.25, 0.25, 1, 3.5];
    private static readonly double[] Y = [0.5, 2, -4, 8, -1, 0.125];
    private static readonly double[] Z = [3, -2, 0.5, 0.25, 1, -8];

    private static readonly (string Name, Func<Tensor, Tensor, Tensor, Tensor> Compute, Func<double, double, double, double> Formula)[] Operations =
    [
        ("Plus", static (x, y, _) => x.Plus(y), static (x, y, _) => x + y),
        ("Plus times", static (x, y, _) => x.Plus(y, 0.75), static (x, y, _) => x + 0.75 * y),
        ("Plus number", static (x, _, _) => x.Plus(0.75), static (x, _, _) => x + 0.75),
        ("Minus", static (x, _, _) => x.Minus(0.75), static (x, _, _) => x - 0.75),
        ("Times", static (x, _, _) => x.Times(0.75), static (x, _, _) => x * 0.75),
        ("Over", static (x, _, _) => x.Over(0.75), static (x, _, _) => x / 0.75),
        ("Squared", static (x, _, _) => x.Squared(), static (x, _, _) => x * x),
        ("ToThe", static (x, _, _) => x.ToThe(3), static (x, _, _) => x * x * x),
        ("PlusProduct", static (x, y, z) => x.PlusProduct(y, z), static (x, y, z) => x + y * z),
        ("Within", static (x, _, _) => x.Within(-0.5, 0.75), static (x, _, _) => Math.Min(Math.Max(x, -0.5), 0.75)),
        ("AtLeast", static (x, _, _) => x.AtLeast(0.25), static (x, _, _) => Math.Max(x, 0.25)),
        ("AtMost", static (x, _, _) => x.AtMost(0.25), static (x, _, _) => Math.Min(x, 0.25)),
        ("Is", static (x, _, _) => x.Is(0.25), static (x, _, _) => x == 0.25 ? 1 : 0),
        ("IsNot", static (x, _, _) => x.IsNot(0.25), static (x, _, _) => x == 0.25 ? 0 : 1),
        ("IsBelow", static (x, _, _) => x.IsBelow(0.25), static (x, _, _) => x < 0.25 ? 1 : 0),
        ("Plus_", static (x, y, _) => x.Plus_(y), static (x, y, _) => x + y),
        ("Plus_ times", static (x, y, _) => x.Plus_(y, 0.75), static (x, y, _) => x + 0.75 * y),
        ("Plus_ number", static (x, _, _) => x.Plus_(0.75), static (x, _, _) => x + 0.75),
        ("Minus_", static (x, _, _) => x.Minus_(0.75), static (x, _, _) => x - 0.75),
        ("Times_", static (x, _, _) => x.Times_(0.75), static (x, _, _) => x * 0.75),
        ("Over_", static (x, _, _) => x.Over_(0.75), static (x, _, _) => x / 0.75),
        ("PlusProduct_", static (x, y, z) => x.PlusProduct_(y, z, 0.75), static (x, y, z) => x + 0.75 * y * z),
        ("PlusQuotient_", static (x, y, z) => x.PlusQuotient_(y, z, 0.75), static (x, y, z) => x + 0.75 * y / z),
        ("x + y", static (x, y, _) => ((Term)x + y).Tensor, static (x, y, _) => x + y),
        ("x + n", static (x, _, _) => ((Term)x + 0.75).Tensor, static (x, _, _) => x + 0.75),
        ("n + x", static (x, _, _) => (0.75 + (Term)x).Tensor, static (x, _, _) => 0.75 + x),
        ("x - y", static (x, y, _) => ((Term)x - y).Tensor, static (x, y, _) => x - y),
        ("x - n", static (x, _, _) => ((Term)x - 0.75).Tensor, static (x, _, _) => x - 0.75),
        ("n - x", static (x, _, _) => (0.75 - (Term)x).Tensor, static (x, _, _) => 0.75 - x),
        ("x * y", static (x, y, _) => ((Term)x * y).Tensor, static (x, y, _) => x * y),
        ("x * n", static (x, _, _) => ((Term)x * 0.75).Tensor, static (x, _, _) => x * 0.75),
        ("n * x", static (x, _, _) => (0.75 * (Term)x).Tensor, static (x, _, _) => 0.75 * x),
        ("x / y", static (x, y, _) => ((Term)x / y).Tensor, static (x, y, _) => x / y),
        ("x / n", static (x, _, _) => ((Term)x / 0.75).Tensor, static (x, _, _) => x / 0.75),
        ("n / x", static (x, _, _) => (0.75 / (Term)x).Tensor, static (x, _, _) => 0.75 / x),
        ("FullLike", static (x, _, _) => Arithmetic.FullLike(x, 0.75), static (_, _, _) => 0.75),
    ];

    public static TheoryData<string> Names => [.. Operations.Select(static operation => operation.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Operation_Numbers_AreThoseOfItsFormula(string name)
    {
        var (_, compute, formula) = Operations.Single(operation => operation.Name == name);
        using var scope = NewDisposeScope();
        var (x, y, z) = (tensor(X), tensor(Y), tensor(Z));

        var result = compute(x, y, z);

        // Quarters and eighths are exact in binary; quotients are rounded once.
        var expected = X.Select((_, i) => formula(X[i], Y[i], Z[i])).ToArray();
        Assert.All(
            expected.Zip(result.to(ScalarType.Float64).data<double>().ToArray()),
            static pair => Assert.Equal(pair.First, pair.Second, 1e-14 * (1 + Math.Abs(pair.First))));
        Assert.Equal(name.Contains('_') ? expected : X, x.data<double>().ToArray());
        Assert.Equal([Y, Z], [y.data<double>().ToArray(), z.data<double>().ToArray()]);
    }

    [Fact]
    public void Number_Kind_IsKeptBesideATensorOfIntegers()
    {
        using var scope = NewDisposeScope();
        var whole = tensor(new[] { 1L, 2L });

        Assert.Equal(
            [ScalarType.Int64, ScalarType.Int64, ScalarType.Float32, ScalarType.Float32],
            new[] { whole.Plus(2), whole.Plus(2L), whole.Plus(2f), whole.Plus(2.0) }.Select(static sum => sum.dtype));
        Assert.Equal([9_007_199_254_740_994, 9_007_199_254_740_995], whole.Plus(9_007_199_254_740_993L).data<long>().ToArray());
        Assert.Equal(0.1, Arithmetic.Full([1], 0.1, ScalarType.Float64).item<double>());
        Assert.Equal((double)0.1f, Arithmetic.Full([1], 0.1f, ScalarType.Float64).item<double>());
    }

    [Fact]
    public void Range_Numbers_GoByOneUpToTheEnd()
    {
        using var scope = NewDisposeScope();

        Assert.Equal([0, 1, 2, 3, 4], Arithmetic.Range(5).data<long>().ToArray());
        Assert.Equal([2f, 3, 4], Arithmetic.Range(2, 5, ScalarType.Float32).data<float>().ToArray());
        Assert.Equal([0.5, 1.5], Arithmetic.Range(0.5, 2.5, ScalarType.Float64).data<double>().ToArray());
        Assert.Equal([2, 3], Arithmetic.Full([2, 3], 1, ScalarType.Float32).shape);
        Assert.Equal(ScalarType.Float32, Arithmetic.Full([2, 3], 1, ScalarType.Float32).dtype);
    }

    [Theory]
    [InlineData(new[] { 1.0, -4 }, new[] { 1.0, -4 }, 0)]
    [InlineData(new[] { 1.5, -4 }, new[] { 1.0, -4 }, 0.125)]
    [InlineData(new[] { 1.0, -5 }, new[] { 1.0, -4 }, 0.25)]
    [InlineData(new[] { 0.5, -0.25 }, new[] { 0.0, 0 }, 0.5)]
    [InlineData(new double[0], new double[0], 0)]
    [InlineData(new[] { double.NaN, 0 }, new[] { 1.0, 0 }, double.PositiveInfinity)]
    [InlineData(new[] { 1.0, double.NegativeInfinity }, new[] { 1.0, 0 }, double.PositiveInfinity)]
    [InlineData(new[] { 1.0 }, new[] { double.NaN }, double.PositiveInfinity)]
    public void Error_OfTensors_IsAPartOfTheLargestExpected(double[] actual, double[] expected, double error)
    {
        using var scope = NewDisposeScope();
        Assert.Equal(error, Agreement.Error(tensor(actual), tensor(expected)));
    }

    [Theory]
    [InlineData(ScalarType.Float64, 1e-9)]
    [InlineData(ScalarType.Float32, 1e-3)]
    [InlineData(ScalarType.BFloat16, 6e-2)]
    [InlineData(ScalarType.Float16, 6e-2)]
    public void Limit_OfAType_IsItsOwn(ScalarType type, double limit) => Assert.Equal(limit, Agreement.Limit(type));

    // The number among others; the type it is, the type it becomes, and whether it is finite then. The greatest float16 is 65504, that of float32 about 3.4e38.
    [Theory]
    [InlineData(1e300, ScalarType.Float64, ScalarType.Float64, true)]
    [InlineData(1e300, ScalarType.Float64, ScalarType.Float32, false)]
    [InlineData(-1e300, ScalarType.Float64, ScalarType.Float32, false)]
    [InlineData(65504, ScalarType.Float32, ScalarType.Float16, true)]
    [InlineData(70000, ScalarType.Float32, ScalarType.Float16, false)]
    [InlineData(-70000, ScalarType.Float32, ScalarType.Float16, false)]
    [InlineData(-70000, ScalarType.Float32, ScalarType.BFloat16, true)]
    [InlineData(double.NaN, ScalarType.Float32, ScalarType.Float32, false)]
    [InlineData(double.PositiveInfinity, ScalarType.Float32, ScalarType.Float32, false)]
    [InlineData(double.NegativeInfinity, ScalarType.BFloat16, ScalarType.BFloat16, false)]
    [InlineData(7, ScalarType.Int64, ScalarType.Float16, true)]
    public void Is_NumberAmongOthers_IsFiniteInItsTypeOrAnother(double number, ScalarType type, ScalarType other, bool isFinite)
    {
        using var scope = NewDisposeScope();
        for (var place = 0; place < 3; place++)
        {
            var numbers = new double[] { 1, -1, 0.5 };
            numbers[place] = number;
            var tensor = torch.tensor(numbers).to(type);

            Assert.Equal(isFinite, Finite.Is(tensor, other));
            Assert.Equal(double.IsFinite(number), Finite.Is(tensor));
        }

        Assert.True(Finite.Is(empty(0), other));
    }
}
