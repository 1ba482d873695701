using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tests.PublicApi;

namespace LoraNotebooks.Kernel.Tests.PublicApi;

public sealed class PublicApiTests
{
    [Fact]
    public void Surface_OfTheKernel_IsTheAcceptedOne() => PublicSurface.Check(typeof(CSharpSession).Assembly, "LoraNotebooks.Kernel");
}
