using LoraNotebooks.Tests.PublicApi;

namespace LoraNotebooks.Interactive.Tests.PublicApi;

public sealed class PublicApiTests
{
    [Fact]
    public void Surface_OfTheDisplays_IsTheAcceptedOne() => PublicSurface.Check(typeof(IRichDisplay).Assembly, "LoraNotebooks.Interactive");
}
