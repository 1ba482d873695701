using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Assistance;

namespace LoraNotebooks.Kernel.Tests.Assistance;

public sealed class InspectionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly CodeAssistant _assistant;

    public InspectionTests() => _assistant = new CodeAssistant(_folder.Path);

    public void Dispose()
    {
        _assistant.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("Math.Sq|rt(2)", "double Math.Sqrt(double d)")]
    [InlineData("Math.Sqrt|", "double Math.Sqrt(double d)")]
    [InlineData("|Math.Sqrt(2)", "class Math")]
    [InlineData("Math.Sqrt(|", "double Math.Sqrt(double d)")]
    [InlineData("Math.Max(1, |", "▸ val2")]
    [InlineData("Math.Max(val2: 1|, val1: 2)", "▸ val2")]
    [InlineData("string.Format(\"{0} {1}\", 1, 2, 3, 4, 5, 6|)", "▸ args")]
    [InlineData("var number = 1;\nnum|ber", "int number")]
    [InlineData("va|r number = 1;", "int\n\nRepresents a 32-bit")]
    [InlineData("in|t number = 1;", "int\n\nRepresents a 32-bit")]
    [InlineData("int Twice(int number) => num|ber;", "int number")]
    [InlineData("new List<int> { 1 }[|0]", "int List<int>.this[int index]")]
    [InlineData("new[] { 1 }.Sele|ct(n => n)", "IEnumerable<int>.Select<int, int>")]
    [InlineData("Canc|ellation", "CancellationToken Cancellation")]
    [InlineData("new List<int>(|", "new List<int>(int capacity)")]
    [InlineData("new Li|st<int>()", "new List<int>(int capacity)")]
    [InlineData("\"abc\"[|0]", "char string.this[int index]")]
    [InlineData("using Sys|tem.Text;", "namespace System")]
    [InlineData("#!ti|me", "#!time")]
    [InlineData("Func<int, int> f = n => n; f(|", "int arg")]
    [InlineData("#!time\r\nMath.Sq|rt(2)", "double Math.Sqrt(double d)")]
    public async Task InspectAsync_ANameOrACall_ShowsItsDeclaration(string marked, string expected) =>
        Assert.Contains(expected, (await InspectAsync(marked))!.Text(MimeTypes.PlainText), StringComparison.Ordinal);

    [Theory]
    [InlineData("|")]
    [InlineData("1 +| 2")]
    [InlineData("noSuch|Name")]
    [InlineData("\"te|xt\"")]
    [InlineData("// Math.Sq|rt")]
    [InlineData("#!html\n<b>|")]
    public async Task InspectAsync_NothingThere_IsNull(string marked) => Assert.Null(await InspectAsync(marked));

    [Fact]
    public async Task InspectAsync_ToolkitMethod_ShowsTheXmlDocumentation()
    {
        var text = (await InspectAsync("LoraConfig.FromPeft|Json("))!.Text(MimeTypes.PlainText)!;
        Assert.Contains("LoraConfig.FromPeftJson(JsonObject json)", text, StringComparison.Ordinal);
        Assert.Matches("(?s)\n\n[A-Z].*\n\n(Parameters|Returns):", text);
    }

    [Fact]
    public async Task InspectAsync_FrameworkMethod_ShowsTheDocumentationOfTheInstalledPack()
    {
        var text = (await InspectAsync("Math.Sq|rt(2)"))!.Text(MimeTypes.PlainText)!;
        Assert.Contains("square root", text, StringComparison.Ordinal);
        Assert.Contains("d: ", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_PackageBesideTheApplication_ShowsTheDocumentationOfThePackageFolder()
    {
        var text = (await InspectAsync("Markdig.Markdown.ToHt|ml(\"\")"))!.Text(MimeTypes.PlainText)!;
        Assert.Contains("Converts a Markdown string to HTML", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_MethodGroup_ShowsOverloadsAndCountsTheRest()
    {
        var few = (await InspectAsync("Console.WriteL|ine(1)"))!.Text(MimeTypes.PlainText)!;
        Assert.StartsWith("static void Console.WriteLine(int value)\n", few, StringComparison.Ordinal);
        Assert.Contains("more overloads", few, StringComparison.Ordinal);
        var all = (await InspectAsync("Console.WriteL|ine(1)", detailed: true))!.Text(MimeTypes.PlainText)!;
        Assert.Contains(
            "static void Console.WriteLine(string format, object arg0, object arg1, object arg2)",
            all.Replace("?", "", StringComparison.Ordinal),
            StringComparison.Ordinal);
        Assert.DoesNotContain("more overloads", all, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_Detailed_AddsExceptionsAndRemarks()
    {
        _assistant.Add("""
            /// <summary>Halves <paramref name="n"/> as in <see cref="System.Math.Round(double)"/>.</summary>
            /// <param name="n">An even number.</param>
            /// <returns>Half of it.</returns>
            /// <exception cref="ArgumentException">It is odd.</exception>
            /// <remarks>
            /// Exact.
            /// <list type="bullet"><item>One</item><item>Two</item></list>
            /// </remarks>
            int Half(int n) => n / 2;
            """, []);
        var brief = (await InspectAsync("Ha|lf(2)"))!.Text(MimeTypes.PlainText)!;
        Assert.Equal("int Half(int n)\n\nHalves n as in Math.Round.\n\nParameters:\n  n: An even number.\n\nReturns:\n  Half of it.", brief);
        var full = (await InspectAsync("Ha|lf(2)", detailed: true))!.Text(MimeTypes.PlainText)!;
        Assert.EndsWith("\n\nExceptions:\n  ArgumentException: It is odd.\n\nRemarks:\n  Exact.\n    - One\n    - Two", full, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_HostileDocumentation_IsEscapedInHtmlAndMarkdown()
    {
        _assistant.Add("""
            /// <summary>&lt;script&gt;alert(1)&lt;/script&gt; *bold* [a](javascript:b) <c>``` x</c></summary>
            /// <param name="n">&lt;img src=x onerror=alert(1)&gt;</param>
            int Half(int n = 2) => n / 2;
            """, []);
        var bundle = (await InspectAsync("Ha|lf(2)"))!;
        Assert.DoesNotContain("<script", bundle.Text(MimeTypes.Html), StringComparison.Ordinal);
        Assert.DoesNotContain("<img", bundle.Text(MimeTypes.Html), StringComparison.Ordinal);
        Assert.Contains("&lt;script&gt;", bundle.Text(MimeTypes.Html), StringComparison.Ordinal);
        var html = Markdig.Markdown.ToHtml(bundle.Text(MimeTypes.Markdown)!);
        Assert.DoesNotContain("<script", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<img", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<a ", html, StringComparison.Ordinal);
        Assert.Contains("*bold*", html, StringComparison.Ordinal);
        Assert.Contains("<code>``` x</code>", html, StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_InheritedDocumentation_IsFollowed()
    {
        _assistant.Add("""
            interface IShape
            {
                /// <summary>The size of the surface.</summary>
                double Area();
            }
            class Square : IShape
            {
                /// <inheritdoc/>
                public double Area() => 1;
            }
            """, []);
        Assert.Contains("The size of the surface.", (await InspectAsync("new Square().Ar|ea()"))!.Text(MimeTypes.PlainText), StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_PositionalRecord_DescribesItsProperties()
    {
        _assistant.Add("/// <summary>Someone.</summary>\n/// <param name=\"Name\">What they are called.</param>\nrecord Person(string Name);", []);
        Assert.Contains("What they are called.", (await InspectAsync("new Person(\"a\").Na|me"))!.Text(MimeTypes.PlainText), StringComparison.Ordinal);
        Assert.Contains("▸ Name: What they are called.", (await InspectAsync("new Person(|"))!.Text(MimeTypes.PlainText), StringComparison.Ordinal);
    }

    [Fact]
    public async Task InspectAsync_VariableOfAnEarlierCell_ShowsItsTypeAndWhatThatIs()
    {
        _assistant.Add("var letters = new System.Text.StringBuilder();", []);
        var text = (await InspectAsync("lett|ers"))!.Text(MimeTypes.PlainText)!;
        Assert.StartsWith("StringBuilder letters\n", text, StringComparison.Ordinal);
        Assert.Contains("mutable string", text, StringComparison.Ordinal);
    }

    private Task<MimeBundle?> InspectAsync(string marked, bool detailed = false)
    {
        var position = marked.IndexOf('|', StringComparison.Ordinal);
        return _assistant.InspectAsync(marked.Remove(position, 1), position, detailed, CancellationToken.None);
    }
}
