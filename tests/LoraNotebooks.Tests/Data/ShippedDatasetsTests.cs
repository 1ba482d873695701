using System.Runtime.CompilerServices;
using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Data;

/// <summary>The datasets that come with the repository.</summary>
public sealed class ShippedDatasetsTests
{
    public static TheoryData<string> Names => [.. Folders()];

    [Theory]
    [MemberData(nameof(Names))]
    public void Open_ShippedDataset_HasNoFaultAndIsComplete(string name)
    {
        var folder = Path.Combine(Root(), name);
        var dataset = ImageDataset.Open(folder, new() { Resolution = 512 });
        Assert.Empty(dataset.Report.Issues);
        Assert.InRange(dataset.Count, 15, 20);
        Assert.All(dataset.Items, item => Assert.True(File.Exists(Path.ChangeExtension(item.Path, ".txt")), $"{item.File} has no .txt"));
        Assert.True(File.Exists(Path.Combine(folder, "README.md")));
        Assert.NotEmpty(Directory.GetFiles(folder, "LICENSE*"));

        var prepared = dataset.Prepare(new() { Resolution = 64, ResolutionStep = 8 });
        Assert.Equal((dataset.Count, 64, 64), (prepared.Count, prepared.Width, prepared.Height));
    }

    [Fact]
    public void Names_OfShippedDatasets_HaveACharacterAndTwoStyles()
    {
        Assert.Contains("mika", Folders());
        Assert.InRange(Folders().Count(name => name.EndsWith("-style", StringComparison.Ordinal)), 2, int.MaxValue);
    }

    private static IEnumerable<string> Folders() =>
        Directory.GetDirectories(Root()).Where(folder => Directory.GetFiles(folder, "*.png").Length > 0).Select(folder => Path.GetFileName(folder));

    private static string Root([CallerFilePath] string thisFile = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", "..", "..", "datasets"));
}
