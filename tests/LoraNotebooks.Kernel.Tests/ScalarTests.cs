using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tests.Tensors;

namespace LoraNotebooks.Kernel.Tests;

/// <summary>That what shows and runs computes with no scalar either that could be freed while libtorch reads it.</summary>
public sealed class ScalarTests
{
    [Theory]
    [InlineData(typeof(MatrixDisplay))]
    [InlineData(typeof(CSharpSession))]
    public void Assembly_NowhereMakesAScalarThatNobodyHolds(Type inside) => Assert.Equal("", string.Join("\n", ScalarUse.Faults(inside.Assembly.Location)));
}
