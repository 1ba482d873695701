using LoraNotebooks.Kernel.Assistance;
using LoraNotebooks.Kernel.Sessions;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Tests.Assistance;

public sealed class CompletionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly CodeAssistant _assistant;

    public CompletionTests() => _assistant = new CodeAssistant(_folder.Path);

    public void Dispose()
    {
        _assistant.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("Console.Wri|", "WriteLine", "method")]
    [InlineData("Console.wri|", "WriteLine", "method")]
    [InlineData("Console.WL|", "WriteLine", "method")]
    [InlineData("\"abc\".Len|", "Length", "property")]
    [InlineData("Conso|", "Console", "class")]
    [InlineData("forea|", "foreach", "keyword")]
    [InlineData("torch.ones_l|", "ones_like", "method")]
    [InlineData("torch.nn.Lin|", "Linear", "method")]
    [InlineData("torch.ones(2).requires_g|", "requires_grad", "property")]
    [InlineData("new[] { 1 }.Select(n => n.ToStr|)", "ToString", "method")]
    [InlineData("(await Task.FromResult(\"a\")).Len|", "Length", "property")]
    [InlineData("int Twice(int number) => 2 * number; Twice(num|", "number:", "parameter")]
    [InlineData("new DiffusionTrainingConfig { MaxGr|", "MaxGradientNorm", "property")]
    [InlineData("var day = DayOfWeek.Monday; if (day == Fri|", "DayOfWeek.Friday", "enum member")]
    [InlineData("bool Is(DayOfWeek day) => true; Is(DayOf|", "DayOfWeek", "enum")]
    [InlineData("using System.Te|", "Text", "namespace")]
    [InlineData("using System.Text.J|", "Json", "namespace")]
    [InlineData("new Lis|", "List", "class")]
    [InlineData("disp|", "display", "method")]
    [InlineData("Cancell|", "Cancellation", "property")]
    [InlineData("LoraNote|", "LoraNotebooks", "namespace")]
    [InlineData("if (true) { Console.Wri|", "WriteLine", "method")]
    [InlineData("var ) = 3; Console.Wri|", "WriteLine", "method")]
    [InlineData("var s = \"😀\";\r\nvar t = s.Len|", "Length", "property")]
    [InlineData("#!time\nConsole.Wri|", "WriteLine", "method")]
    [InlineData("XDocum|", "System.Xml.Linq.XDocument", "class")]
    [InlineData("var x = new FrozenSe|", "System.Collections.Frozen.FrozenSet", "class")]
    [InlineData("using var x = new MemoryStream(); x.Len|", "Length", "property")]
    [InlineData("#!ti|", "#!time", "magic")]
    [InlineData("#!whos|", "#!whos", "magic")]
    [InlineData("1\n  #!l|", "#!lsmagic", "magic")]
    [InlineData("#lo|", "#load", "keyword")]
    [InlineData("#r \"nu|", "nuget: ", "package")]
    public async Task CompleteAsync_WhereANameIsBegun_ProposesTheRest(string marked, string expected, string kind)
    {
        var (reply, result) = await CompleteAsync(marked);
        var match = reply.Matches.FirstOrDefault(match => match.Text == expected);
        Assert.True(match is not null, $"{expected} is not among: {string.Join(" ", reply.Matches.Take(20).Select(match => match.Text))}");
        Assert.Equal(kind, match.Kind);
        Assert.Contains(expected, result(expected), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Console.WriteL|", "Console.WriteLine")]
    [InlineData("cons|", "const")]
    [InlineData("var d = new Dictionar|", "var d = new Dictionary")]
    [InlineData("DayOfWeek day = Sunda|", "DayOfWeek day = DayOfWeek.Sunday")]
    public async Task CompleteAsync_FirstMatch_IsTheMostFitting(string marked, string expected)
    {
        var (reply, result) = await CompleteAsync(marked);
        Assert.Equal(expected, result(reply.Matches[0].Text));
    }

    [Theory]
    [InlineData("|")]
    [InlineData("Console.|")]
    [InlineData("class A { override | }")]
    [InlineData("partial class A { partial void | }")]
    [InlineData("\"in a string |\"")]
    [InlineData("// in a comment |")]
    [InlineData("#!html\n<b|")]
    [InlineData("#r \"nuget: |")]
    [InlineData("#r \"|")]
    [InlineData("#load \"no/such/folder/|")]
    [InlineData("#if |")]
    [InlineData("😀|")]
    [InlineData("var x = $\"{|")]
    [InlineData("((((|")]
    public async Task CompleteAsync_AnyPlace_AnswersWithinTheCode(string marked)
    {
        var position = marked.IndexOf('|', StringComparison.Ordinal);
        var code = marked.Remove(position, 1);
        foreach (var asked in (int[])[position, -5, code.Length, int.MaxValue])
        {
            var reply = await _assistant.CompleteAsync(code, asked, CancellationToken.None);
            Assert.InRange(reply.Start, 0, code.Length);
            Assert.InRange(reply.End, reply.Start, code.Length);
            Assert.InRange(reply.Matches.Count, 0, 300);
        }
    }

    [Fact]
    public async Task CompleteAsync_EveryPositionOfRealCode_Answers()
    {
        const string Code = "using System.Text;\r\nvar s = new StringBuilder();\r\nforeach (var c in \"a😀\") { s.Append(c, 1); }\r\ns.ToString(";
        for (var position = 0; position <= Code.Length; position += 3)
        {
            await _assistant.CompleteAsync(Code, position, CancellationToken.None);
            await _assistant.InspectAsync(Code, position, detailed: true, CancellationToken.None);
        }
    }

    [Fact]
    public async Task CompleteAsync_DeclarationsOfEarlierCells_AreProposed()
    {
        Add("using System.Text;");
        Add("/// <summary>Twice.</summary>\nint TwiceOf(int n) => 2 * n;\nrecord Person(string GivenName);");
        Add("var people = new[] { new Person(\"Ada\") };");
        Add("if (int.TryParse(\"1\", out var parsed)) { }\nint.TryParse(\"1\", out var parsedNumber);");
        Assert.Contains("TwiceOf", await MatchesAsync("Twi|"));
        Assert.Contains("GivenName", await MatchesAsync("people[0].Gi|"));
        Assert.Contains("StringBuilder", await MatchesAsync("new StringB|"));
        Assert.Contains("parsedNumber", await MatchesAsync("parsedN|"));
    }

    [Fact]
    public async Task CompleteAsync_RedeclaredWithAnotherType_ShowsTheLatest()
    {
        Add("var thing = 1;");
        Assert.Contains("CompareTo", await MatchesAsync("thing.Comp|"));
        Add("var thing = new List<string>();");
        Assert.Contains("Capacity", await MatchesAsync("thing.Cap|"));
        Assert.Contains("Length", await MatchesAsync("thing[0].Len|"));
    }

    [Fact]
    public async Task CompleteAsync_LoadedFile_BringsItsDeclarations()
    {
        _folder.Write("helper.csx", "int ThriceOf(int n) => 3 * n;");
        Add("#load \"helper.csx\"");
        Assert.Contains("ThriceOf", await MatchesAsync("Thri|"));
    }

    [Fact]
    public async Task CompleteAsync_ReferencesOfEarlierCells_AreSeen()
    {
        _assistant.Add(
            "using Xunit.Sdk;",
            [SessionReferences.FromFile(typeof(Assert).Assembly.Location), MetadataReference.CreateFromFile(typeof(FactAttribute).Assembly.Location)]);
        Assert.Contains("FactAttribute", await MatchesAsync("typeof(Xunit.FactA|"));
    }

    [Fact]
    public async Task CompleteAsync_LongSession_StaysShortAndKnowsEveryName()
    {
        Add("using System.Text;\nusing Numbers = System.Collections.Generic.List<int>;");
        Add("record Person(string GivenName);\nenum Colour { Red, Green }\nint Twice(int n) => 2 * n;\ndouble Twice(double n) => 2 * n;");
        Add("var first = 1;\nvar second = first;\nvar nobody = new { Alias = \"x\" };\nvar (left, right) = (1, \"r\");\n"
            + "Person[] people = [];\nconst int Limit = 3;");
        Add("var first = \"changed\";\nint @event = 1;");
        for (var cell = 0; cell < 60; cell++)
        {
            Add($"var counter = {cell};\nvar value{cell % 5} = new Person(\"{cell}\");\nConsole.WriteLine(counter);");
            Add($"Console.WriteLine({cell});");
        }

        Assert.Contains("CompareTo", await MatchesAsync("second.Comp|"));
        Assert.InRange(_assistant.Links, 1, 16);
        Assert.Contains("Length", await MatchesAsync("first.Len|"));
        Assert.Contains("GivenName", await MatchesAsync("value3.Gi|"));
        Assert.Contains("GivenName", await MatchesAsync("people[0].Gi|"));
        Assert.Contains("Alias", await MatchesAsync("nobody.Al|"));
        Assert.Contains("Length", await MatchesAsync("right.Len|"));
        Assert.Contains("Green", await MatchesAsync("Colour.Gr|"));
        Assert.Contains("Capacity", await MatchesAsync("new Numbers().Cap|"));
        Assert.Contains("StringBuilder", await MatchesAsync("new StringB|"));
        Assert.Contains("CompareTo", await MatchesAsync("Limit.Comp|"));
        Assert.Contains("@event", await MatchesAsync("@ev|"));
        var twice = await _assistant.InspectAsync("Twice(1)", 3, detailed: false, CancellationToken.None);
        Assert.Contains("int Twice(int n)", twice!.Text("text/plain"), StringComparison.Ordinal);
        Assert.Contains("double Twice(double n)", twice.Text("text/plain"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task CompleteAsync_PackageDirective_ProposesNamesAndVersionsOfTheLocalFolder()
    {
        Assert.Equal("TorchSharp", (await MatchesAsync("#r \"nuget: TorchS|")).First());
        Assert.Equal("TorchSharp", (await MatchesAsync("#r \"nuget:torchs|\"")).First());
        Assert.Contains("0.107.0", await MatchesAsync("#r \"nuget: TorchSharp, |"));
        var (reply, result) = await CompleteAsync("#r \"nuget: TorchSharp, 0.1|");
        Assert.Equal("#r \"nuget: TorchSharp, 0.107.0", result(reply.Matches[0].Text));
    }

    [Fact]
    public async Task CompleteAsync_PathDirective_ProposesFilesAndFolders()
    {
        Directory.CreateDirectory(_folder.File("libs"));
        _folder.Write("libs/Extra.dll", "");
        _folder.Write("libs/notes.txt", "");
        _folder.Write("helper.csx", "");
        Assert.Equal(["libs/"], await MatchesAsync("#r \"li|"));
        Assert.Equal(["Extra.dll"], await MatchesAsync("#r \"./libs/|"));
        Assert.Equal(["helper.csx", "libs/"], await MatchesAsync("#load \"|"));
    }

    [Fact]
    public async Task CompleteAsync_FirstMatches_SayHowTheyAreDeclared()
    {
        var (reply, _) = await CompleteAsync("Math.Sqr|");
        Assert.Equal("double Math.Sqrt(double d)", reply.Matches[0].Signature);
        Assert.Contains("square root", reply.Matches[0].Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task CompleteAsync_NothingTyped_StartsWithTheSessionsOwnNames()
    {
        Add("var zebra = 1;\nint Zoom() => 1;");
        var first = (await MatchesAsync("|")).Take(9).ToArray();
        Assert.Contains("zebra", first);
        Assert.Contains("Zoom", first);
        Assert.Contains("display", first);
    }

    [Fact]
    public async Task CompleteAsync_OverriddenMember_IsWrittenOut()
    {
        var (reply, result) = await CompleteAsync("class A\n{\n    public override ToS|\n}");
        Assert.StartsWith("class A\n{\n    public override string ToString()", result(reply.Matches[0].Text), StringComparison.Ordinal);
    }

    [Fact]
    public async Task CompleteAsync_CaretInsideAName_ReplacesTheWholeName()
    {
        var (reply, _) = await CompleteAsync("Console.Wri|teLine(1);");
        Assert.Equal(("Console.".Length, "Console.WriteLine".Length), (reply.Start, reply.End));
        Assert.Contains("WriteLine", reply.Matches.Select(match => match.Text));
    }

    [Fact]
    public async Task CompleteAsync_Cancelled_ThrowsAndLosesNoCell()
    {
        Add("var kept = \"text\";");
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _assistant.CompleteAsync("kept.", 5, new CancellationToken(canceled: true)));
        Assert.Contains("Length", await MatchesAsync("kept.Le|"));
    }

    private void Add(string code) => _assistant.Add(code, []);

    private async Task<IEnumerable<string>> MatchesAsync(string marked) => (await CompleteAsync(marked)).Reply.Matches.Select(match => match.Text);

    /// <summary>The reply, and what the code up to the end of the replaced part becomes with a match.</summary>
    private async Task<(CompletionReply Reply, Func<string, string> Result)> CompleteAsync(string marked)
    {
        var position = marked.IndexOf('|', StringComparison.Ordinal);
        var code = marked.Remove(position, 1);
        var reply = await _assistant.CompleteAsync(code, position, CancellationToken.None);
        return (reply, match => code[..reply.Start] + match);
    }
}
