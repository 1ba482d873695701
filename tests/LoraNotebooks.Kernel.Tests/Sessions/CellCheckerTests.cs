using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class CellCheckerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task CheckAsync_GoodCells_SeeEachOtherAndDoNotRun()
    {
        var marker = _folder.File("ran");
        Assert.All(
            await CheckAsync(
                $"using System.Text;\nFile.WriteAllText(@\"{marker}\", \"\");\nvar a = 1;",
                "int Twice(int x) => 2 * x;",
                "await Task.Delay(Twice(a)); new StringBuilder()"),
            Assert.Null);
        Assert.False(File.Exists(marker));
    }

    [Fact]
    public async Task CheckAsync_FaultyCell_IsLeftOutOfTheChain()
    {
        var errors = await CheckAsync("var a = 1;", "// fine\nvar b = nothing;", "a + 1", "b + 1");
        Assert.Null(errors[0]);
        Assert.Contains("cell 2, line 2, column 9: error CS0103", errors[1]!.Message, StringComparison.Ordinal);
        Assert.Null(errors[2]);
        Assert.Contains("'b'", errors[3]!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CheckAsync_FileReferences_AreResolved()
    {
        _folder.Write("helpers.csx", "int Helped() => 7;");
        var errors = await CheckAsync("#load \"helpers.csx\"", "Helped()", "#r \"missing.dll\"");
        Assert.Null(errors[0]);
        Assert.Null(errors[1]);
        Assert.Contains("missing.dll", errors[2]!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CheckAsync_UnreadablePackage_IsAnErrorOfItsCell() =>
        Assert.Equal("PackageNotRestored", Assert.Single(await CheckAsync("#r \"nuget: , \""))!.Name);

    [Fact]
    public async Task CheckAsync_TheSampleOfTheReadme_CompilesAsACell()
    {
        var readme = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "../../../../../README.md"));
        var sample = readme.Split("## In code")[1].Split("```csharp")[1].Split("```")[0];
        Assert.Contains("using var ", sample, StringComparison.Ordinal);
        Assert.Null(Assert.Single(await CheckAsync(sample)));
    }

    [Theory]
    [InlineData("#!fsharp\nlet x = 1", "F#")]
    [InlineData("1\n#!pwsh\nGet-Date", "PowerShell")]
    [InlineData("1\n#!nothing", "#!nothing")]
    public async Task CheckAsync_PartThatCannotRun_IsNamed(string cell, string named) =>
        Assert.Contains(named, Assert.Single(await CheckAsync(cell))!.Message, StringComparison.Ordinal);

    [Fact]
    public async Task CheckAsync_PartsOfACell_SeeThoseBeforeThem() =>
        Assert.All(await CheckAsync("var a = 1;\n#!html\n<b>\n#!csharp\nvar b = a + 1;", "a + b"), Assert.Null);

    private async Task<CellError?[]> CheckAsync(params string[] cells)
    {
        var checker = new CellChecker(_folder.Path, static _ => { }, static _ => { });
        var errors = new List<CellError?>();
        foreach (var cell in cells)
        {
            errors.Add(await checker.CheckAsync(cell, $"cell {errors.Count + 1}", CancellationToken.None));
        }

        return [.. errors];
    }
}
