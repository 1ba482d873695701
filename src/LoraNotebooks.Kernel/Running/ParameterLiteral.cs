using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Values as they are typed on a command line, made into C# for a variable of a known type.</summary>
/// <remarks>
/// Literals, signed numbers, members of the variable's own enum, and lists of these. Nothing else is taken, and what is taken is
/// written anew without the comments and directives around it, so that a value cannot bring code along.
/// </remarks>
internal static class ParameterLiteral
{
    /// <summary>The C# expression for a value, or null if it is not a constant. Whether it converts to the type is left to the compiler.</summary>
    /// <param name="value">The value as typed; text for a string needs no quotes.</param>
    /// <param name="variable">The variable to set.</param>
    public static string? ToCode(string value, IFieldSymbol variable)
    {
        var constant = Parse(value.Trim());
        if (variable.Type.SpecialType != SpecialType.System_String)
        {
            return constant is null ? null : Text(constant, variable.Type);
        }

        return constant?.Kind() switch
        {
            SyntaxKind.StringLiteralExpression => constant.ToString(),
            SyntaxKind.NullLiteralExpression when variable.NullableAnnotation == NullableAnnotation.Annotated => "null",
            _ => SymbolDisplay.FormatLiteral(value, quote: true),
        };
    }

    /// <summary>What a variable of a type takes, for a message.</summary>
    public static string Expected(ITypeSymbol type)
    {
        var bare = WithoutNullable(type);
        var name = type.ToDisplayString(SymbolDisplayFormat.MinimallyQualifiedFormat);
        return bare.TypeKind == TypeKind.Enum ? $"expected one of {string.Join(", ", Members(bare).Select(member => $"{bare.Name}.{member}"))}."
            : type.TypeKind == TypeKind.Error ? "expected a C# literal, for example 20, 1e-4, true, \"text\" or [1, 2, 4]."
            : Example(bare) is { } example ? $"expected a C# literal of type {name}, for example {example}."
            : $"its type {name} has no literals. Declare the parameter as a number, a text, a bool, an enum or a list of these.";
    }

    private static ExpressionSyntax? Parse(string value)
    {
        var expression = SyntaxFactory.ParseExpression(value);
        return expression.ContainsDiagnostics || expression.ContainsDirectives || expression.FullSpan.Length != value.Length ? null : expression;
    }

    private static string? Text(ExpressionSyntax expression, ITypeSymbol type)
    {
        var bare = WithoutNullable(type);
        switch (expression)
        {
            case LiteralExpressionSyntax literal:
                return Text(literal, bare);
            case PrefixUnaryExpressionSyntax
            {
                RawKind: (int)SyntaxKind.UnaryMinusExpression or (int)SyntaxKind.UnaryPlusExpression,
                Operand: LiteralExpressionSyntax { RawKind: (int)SyntaxKind.NumericLiteralExpression } number,
            } signed:
                return signed.OperatorToken.Text + Text(number, bare);
            case MemberAccessExpressionSyntax { Expression: var named, Name: IdentifierNameSyntax member }
                when Names(named.ToString(), bare, member.Identifier.ValueText):
                return $"{named}.{member}";
            case CollectionExpressionSyntax list:
                var elements = list.Elements
                    .Select(element => element is ExpressionElementSyntax item ? Text(item.Expression, ElementOf(bare)) : null)
                    .ToArray();
                return elements.Contains(null) ? null : $"[{string.Join(", ", elements)}]";
            default:
                return null;
        }
    }

    /// <summary>The literal as written; 0.25 for a float or a decimal gets the letter that C# asks for.</summary>
    private static string Text(LiteralExpressionSyntax literal, ITypeSymbol type) => (literal.Token.Value, type.SpecialType) switch
    {
        (double, SpecialType.System_Single) => literal.Token.Text.TrimEnd('d', 'D') + "f",
        (double, SpecialType.System_Decimal) => literal.Token.Text.TrimEnd('d', 'D') + "m",
        _ => literal.Token.Text,
    };

    /// <summary>Whether <c>name.member</c> is a constant of the enum. Of an enum that an earlier cell declares only the name is known.</summary>
    private static bool Names(string name, ITypeSymbol type, string member) => type.TypeKind switch
    {
        TypeKind.Enum => ("." + type.ToDisplayString()).EndsWith("." + name, StringComparison.Ordinal) && Members(type).Contains(member),
        TypeKind.Error => type.Name == name,
        _ => false,
    };

    private static IEnumerable<string> Members(ITypeSymbol type) =>
        type.GetMembers().OfType<IFieldSymbol>().Where(field => field.IsConst).Select(field => field.Name);

    private static ITypeSymbol WithoutNullable(ITypeSymbol type) =>
        type is INamedTypeSymbol { OriginalDefinition.SpecialType: SpecialType.System_Nullable_T, TypeArguments: [var value] } ? value : type;

    private static ITypeSymbol ElementOf(ITypeSymbol type) => type switch
    {
        IArrayTypeSymbol array => array.ElementType,
        INamedTypeSymbol { TypeArguments: [var element] } => element,
        _ => type,
    };

    private static string? Example(ITypeSymbol type) => type.SpecialType switch
    {
        SpecialType.System_Boolean => "true",
        SpecialType.System_Char => "'a'",
        SpecialType.System_String => "\"text\"",
        SpecialType.System_Single or SpecialType.System_Double or SpecialType.System_Decimal => "1e-4",
        SpecialType.System_Object => "20 or \"text\"",
        >= SpecialType.System_SByte and <= SpecialType.System_UInt64 => "20",
        _ when ElementOf(type) is var element && !ReferenceEquals(element, type) && Example(element) is { } one => $"[{one}, {one}]",
        _ => null,
    };
}
