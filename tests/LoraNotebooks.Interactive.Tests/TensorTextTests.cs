using System.Globalization;
using TorchSharp;

namespace LoraNotebooks.Interactive.Tests;

public sealed class TensorTextTests : IDisposable
{
    private readonly DisposeScope _scope = torch.NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    [Fact]
    public void Of_SmallTensor_ShowsItsValuesAndALargerOneItsStatistics()
    {
        Assert.Equal("[2], type = Float32, device = cpu\n 1 2.5", TensorText.Of(torch.tensor(new[] { 1, 2.5f }), isInner: false));
        Assert.DoesNotContain("mean", TensorText.Of(torch.zeros(1_000), isInner: false));
        Assert.Equal("[1001], type = Float32, device = cpu\nmean = 0, std = 0, min = 0, max = 0", TensorText.Of(torch.zeros(1_001), isInner: false));
        Assert.Equal("[7x11x13], type = Float32, device = cpu\nmean = 0, std = 0, min = 0, max = 0", TensorText.Of(torch.zeros(7, 11, 13), isInner: false));
        Assert.Equal("[2], type = Float32, device = cpu", TensorText.Of(torch.zeros(2), isInner: true));
        Assert.Equal("[1001], type = Float32, device = cpu", TensorText.Of(torch.zeros(1_001), isInner: true));
    }

    [Theory]
    [InlineData(2_000, true)]
    [InlineData(1_999, false)]
    public void Of_LargeTensor_IsMeasuredUpToTheMostValues(long most, bool isMeasured) =>
        Assert.Equal(isMeasured, TensorText.Of(torch.zeros(2_000), isInner: false, most).Contains("mean"));

    [Theory]
    [InlineData(torch.ScalarType.Float32)]
    [InlineData(torch.ScalarType.Float64)]
    [InlineData(torch.ScalarType.Float16)]
    [InlineData(torch.ScalarType.BFloat16)]
    [InlineData(torch.ScalarType.Int64)]
    [InlineData(torch.ScalarType.Int8)]
    public void Of_LargeTensorOfAnyType_HasTheStatisticsOfItsValues(torch.ScalarType type)
    {
        // Whole numbers that every type holds exactly.
        double[] values = [.. Enumerable.Range(0, 2_000).Select(i => (double)((i * 7 % 23) - 5))];
        var mean = values.Sum() / values.Length;
        var deviation = Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Length - 1));
        Assert.Equal(
            string.Create(CultureInfo.InvariantCulture, $"[2000], type = {type}, device = cpu\nmean = {mean:G4}, std = {deviation:G4}, min = -5, max = 17"),
            TensorText.Of(torch.tensor(values, dtype: torch.ScalarType.Float64).to(type), isInner: false));
    }

    [Fact]
    public void Of_ValuesThatAreNotFinite_AreCountedAndLeftOutOfTheRest()
    {
        var values = torch.arange(0, 2_000, dtype: torch.ScalarType.Float32);
        values[0] = float.NaN;
        values[1] = float.PositiveInfinity;
        values[1_999] = float.NegativeInfinity;
        Assert.EndsWith("\nmean = 1,000, std = 576.6, min = 2, max = 1,998, 3 not finite", TensorText.Of(values, isInner: false));
        Assert.Equal("[2000], type = Float32, device = cpu, 2,000 not finite", TensorText.Of(torch.full(2_000, float.NaN), isInner: false));
    }

    [Fact]
    public void Of_TensorWithoutValuesOrOrder_HasItsFactsOnly()
    {
        Assert.Equal("[2000], type = Float32, device = meta", TensorText.Of(torch.zeros(2_000, device: torch.META), isInner: false));
        Assert.Equal("[2], type = Float32, device = meta", TensorText.Of(torch.zeros(2, device: torch.META), isInner: false));
        Assert.Equal("[2000], type = ComplexFloat32, device = cpu", TensorText.Of(torch.zeros(2_000, dtype: torch.complex64), isInner: false));
        var sparse = torch.sparse_coo_tensor(torch.zeros(1, 1, dtype: torch.int64), torch.ones(1), [2]);
        Assert.Equal("[2], type = Float32, device = cpu", TensorText.Of(sparse, isInner: false));
    }

    [Fact]
    public void Of_TensorThatLearns_SaysSoAndIsLeftAlone()
    {
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var weights = torch.ones(1_001, requires_grad: true);
        Assert.Equal("[1001], type = Float32, device = cpu, requires_grad\nmean = 1, std = 0, min = 1, max = 1", TensorText.Of(weights, isInner: false));
        Assert.Contains("1", TensorText.Of(torch.ones(3, requires_grad: true), isInner: false));
        Assert.True(torch.is_grad_enabled());
        Assert.Equal(2, DisposeScopeManager.Statistics.ThreadTotalLiveCount - before);
        weights.Dispose();
        Assert.Equal("a disposed tensor", TensorText.Of(weights, isInner: false));
        Assert.Equal("a disposed tensor", TensorText.Of(weights, isInner: true));
    }
}
