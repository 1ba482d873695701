using LoraNotebooks.Kernel.Assistance;

namespace LoraNotebooks.Kernel.Tests.Assistance;

public sealed class CompletenessTests
{
    [Theory]
    [InlineData("")]
    [InlineData("   \r\n")]
    [InlineData("// a comment")]
    [InlineData("1 + 1")]
    [InlineData("var x = 1;")]
    [InlineData("if (true) Console.WriteLine();")]
    [InlineData("int F() => 1;\nF()")]
    [InlineData("#!time\nvar x = 1;")]
    [InlineData("#i \"nuget: somewhere\"\n1")]
    [InlineData("#r \"nuget: Humanizer.Core, 2.14.1\"\nusing Humanizer;")]
    [InlineData("#!html\n<b onclick=\"{\">bold")]
    [InlineData("#if DEBUG\nvar x = 1;\n#endif")]
    [InlineData("await Task.Delay(1)")]
    [InlineData("record P(int A);")]
    [InlineData("using var x = new MemoryStream();\nawait using var y = x;")]
    [InlineData("#!fsharp\nlet x =")]
    public void Judge_CodeThatParses_IsComplete(string code) => Assert.Equal(CompletenessStatus.Complete, CodeAssistant.Judge(code).Status);

    [Theory]
    [InlineData("for (var i = 0; i < 3; i++) {", "    ")]
    [InlineData("class A\n{\n    void F() {\n", "        ")]
    [InlineData("{\n    var x = 1;\n", "    ")]
    [InlineData("Console.WriteLine(", "")]
    [InlineData("Console.WriteLine(1,", "")]
    [InlineData("var x = 1 +", "")]
    [InlineData("var x = 1", "")]
    [InlineData("foreach (var x in new[] { 1 })", "")]
    [InlineData("if (true)", "")]
    [InlineData("/* a comment", "")]
    [InlineData("var x = \"open", "")]
    [InlineData("var x = @\"open\nnext", "")]
    [InlineData("var x = \"\"\"\n  open", "  ")]
    [InlineData("\"\"\"", "")]
    [InlineData("var x = \"\"\"", "")]
    [InlineData("Console.WriteLine(\"\"\"\n", "")]
    [InlineData("var x = $\"\"\"\n  open {1", "  ")]
    [InlineData("#if DEBUG\nvar x = 1;", "")]
    [InlineData("#region A\nvar x = 1;", "")]
    [InlineData("#!time\nwhile (true) {", "    ")]
    [InlineData("try { }", "")]
    [InlineData("xs.Select(x => {", "    ")]
    [InlineData("new List<int>\r\n{", "    ")]
    public void Judge_CodeThatMoreTextCompletes_IsIncompleteWithTheNextIndent(string code, string indent) =>
        Assert.Equal(new Completeness(CompletenessStatus.Incomplete, indent), CodeAssistant.Judge(code));

    [Theory]
    [InlineData(")")]
    [InlineData("var x = ;")]
    [InlineData("foo) {")]
    [InlineData("int int x;\nif (true) {")]
    [InlineData("var x = \"open\nvar y = 1;")]
    [InlineData("}")]
    [InlineData("class { ) ")]
    public void Judge_ErrorThatNoTextRepairs_IsInvalid(string code) => Assert.Equal(CompletenessStatus.Invalid, CodeAssistant.Judge(code).Status);
}
