using LoraNotebooks.Formats;

namespace LoraNotebooks.Tests.PublicApi;

public sealed class PublicApiTests
{
    [Fact]
    public void Surface_OfTheLibrary_IsTheAcceptedOne() => PublicSurface.Check(typeof(SafetensorsFile).Assembly, "LoraNotebooks");

    [Fact]
    public void Differences_OfTwoSurfaces_NameTypeAndMember()
    {
        var differences = PublicSurface.Differences(
            """
            namespace Rooms
            {
                public class Door
                {
                    public int Height { get; }
                }
                public sealed class Window<T> : Rooms.Door where T : class
                {
                    public int Height { get; }
                    public int Width { get; }
                }
            }
            """,
            """
            namespace Rooms
            {
                public class Door
                {
                    public int Height { get; }
                }
                public sealed class Window<T> : Rooms.Door where T : class
                {
                    public double Height { get; }
                    public int Width { get; }
                    public void Open() { }
                }
            }
            """);

        Assert.Equal(
            """
            + Rooms.Window<T>: public double Height { get; }
            - Rooms.Window<T>: public int Height { get; }
            + Rooms.Window<T>: public void Open() { }
            """,
            differences);
    }
}
