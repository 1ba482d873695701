using LoraNotebooks.Kernel.Html;

namespace LoraNotebooks.Kernel.Tests.Html;

public sealed class MathMlTests
{
    [Theory]
    [InlineData("W_0", "<msub><mi>W</mi><mrow><mn>0</mn></mrow></msub>")]
    [InlineData(@"\Delta W", "<mi>Δ</mi><mi>W</mi>")]
    [InlineData(@"\frac{\alpha}{r}", "<mfrac><mrow><mrow><mi>α</mi></mrow></mrow><mrow><mrow><mi>r</mi></mrow></mrow></mfrac>")]
    [InlineData(@"x_t^2", "<msubsup><mi>x</mi><mrow><mi>t</mi></mrow><mrow><mn>2</mn></mrow></msubsup>")]
    [InlineData(@"d \times k \cdot 2", "<mi>d</mi><mo>×</mo><mi>k</mi><mo>⋅</mo><mn>2</mn>")]
    [InlineData(@"\mathbb{R}", "<mi>ℝ</mi>")]
    [InlineData(@"a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>")]
    [InlineData("|x|", "O|C<mi>x</mi>P|C")]
    [InlineData(@"\lVert x\rVert^2", "O‖C<mi>x</mi><msup>P‖C<mrow><mn>2</mn></mrow></msup>")]
    [InlineData(@"\|x\|_2", "O‖C<mi>x</mi><msub>P‖C<mrow><mn>2</mn></mrow></msub>")]
    [InlineData("2|x|", "<mn>2</mn>O|C<mi>x</mi>P|C")]
    [InlineData(
        "p(x|y)",
        "<mi>p</mi><mo stretchy=\"false\">(</mo><mi>x</mi><mo form=\"infix\" stretchy=\"false\">|</mo><mi>y</mi><mo stretchy=\"false\">)</mo>")]
    [InlineData("|a-|b||", "O|C<mi>a</mi><mo>−</mo>O|C<mi>b</mi>P|CP|C")]
    [InlineData(@"|x|+|y|", "O|C<mi>x</mi>P|C<mo>+</mo>O|C<mi>y</mi>P|C")]
    [InlineData(
        @"\left\lVert x\right\rVert",
        "<mrow><mo form=\"prefix\" fence=\"true\" stretchy=\"true\">‖</mo><mi>x</mi>"
            + "<mo form=\"postfix\" fence=\"true\" stretchy=\"true\">‖</mo></mrow>")]
    [InlineData(
        @"\left|\frac{a}{b}\right|",
        "<mrow><mo form=\"prefix\" fence=\"true\" stretchy=\"true\">|</mo>"
            + "<mfrac><mrow><mrow><mi>a</mi></mrow></mrow><mrow><mrow><mi>b</mi></mrow></mrow></mfrac>"
            + "<mo form=\"postfix\" fence=\"true\" stretchy=\"true\">|</mo></mrow>")]
    [InlineData(@"\frac{|x|}{2}", "<mfrac><mrow><mrow>O|C<mi>x</mi>P|C</mrow></mrow><mrow><mrow><mn>2</mn></mrow></mrow></mfrac>")]
    [InlineData(@"\unknown{x}", "<mtext>\\unknown</mtext><mrow><mi>x</mi></mrow>")]
    [InlineData(@"\text{if } <b>", "<mtext>if </mtext><mo>&lt;</mo><mi>b</mi><mo>&gt;</mo>")]
    public void Convert_Tex_GivesMathMl(string tex, string expected) =>
        Assert.Contains($"<mrow>{Spelled(expected)}</mrow><annotation", MathMl.Convert(tex, isBlock: false), StringComparison.Ordinal);

    /// <summary>In an expectation O and P open a bar before and after what it holds, and C closes it.</summary>
    private static string Spelled(string expected) => expected
        .Replace("O|C", "O|</mo>").Replace("O‖C", "O‖</mo>").Replace("P|C", "P|</mo>").Replace("P‖C", "P‖</mo>")
        .Replace("O|", "<mo form=\"prefix\" fence=\"true\" stretchy=\"false\">|").Replace("O‖", "<mo form=\"prefix\" fence=\"true\" stretchy=\"false\">‖")
        .Replace("P|", "<mo form=\"postfix\" fence=\"true\" stretchy=\"false\">|").Replace("P‖", "<mo form=\"postfix\" fence=\"true\" stretchy=\"false\">‖");

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("}")]
    [InlineData(@"\")]
    [InlineData(@"\frac{")]
    [InlineData("x^")]
    [InlineData(@"\left(")]
    [InlineData(@"\mathbf{\mathbf{")]
    public void Convert_BrokenTex_IsWellFormedXml(string tex) => System.Xml.Linq.XElement.Parse(MathMl.Convert(tex, isBlock: true));

    [Theory]
    [InlineData("{")]
    [InlineData(@"\sqrt")]
    [InlineData(@"\mathbf{\cdot")]
    [InlineData(@"\left(")]
    [InlineData("x^")]
    public void Convert_DeepNesting_DoesNotOverflow(string part) =>
        System.Xml.Linq.XElement.Parse(MathMl.Convert(string.Concat(Enumerable.Repeat(part, 20_000)), isBlock: true));
}
