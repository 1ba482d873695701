using System.Runtime.CompilerServices;

namespace LoraNotebooks.Interactive.Tests;

public class TypeNamesTests
{
    public static TheoryData<Type, string> Types => new()
    {
        { typeof(bool), "bool" },
        { typeof(byte), "byte" },
        { typeof(sbyte), "sbyte" },
        { typeof(char), "char" },
        { typeof(decimal), "decimal" },
        { typeof(double), "double" },
        { typeof(float), "float" },
        { typeof(int), "int" },
        { typeof(uint), "uint" },
        { typeof(long), "long" },
        { typeof(ulong), "ulong" },
        { typeof(short), "short" },
        { typeof(ushort), "ushort" },
        { typeof(nint), "nint" },
        { typeof(nuint), "nuint" },
        { typeof(object), "object" },
        { typeof(string), "string" },
        { typeof(void), "void" },
        { typeof(Guid), "Guid" },
        { typeof(int?), "int?" },
        { typeof(Guid?[]), "Guid?[]" },
        { typeof(int[]), "int[]" },
        { typeof(int[,,]), "int[,,]" },
        { typeof(List<int[]>[,]), "List<int[]>[,]" },
        { typeof(Dictionary<string, List<int?>>), "Dictionary<string, List<int?>>" },
        { typeof(Dictionary<string, int>.KeyCollection), "KeyCollection" },
        { typeof(Outer<int>.Inner<string, bool>), "Inner<string, bool>" },
        { typeof(Outer<int>.Inner<string, bool>.Deep), "Deep" },
        { typeof((int, string)), "ValueTuple<int, string>" },
        { new { A = 1 }.GetType(), "new" },
        { typeof(NotAnonymousType), "NotAnonymousType" },
    };

    [Theory]
    [MemberData(nameof(Types))]
    public void Of_Type_IsWrittenAsInCSharp(Type type, string expected) => Assert.Equal(expected, TypeNames.Of(type));

    [Fact]
    public void IsPair_OnlyEntriesOfDictionaries_AreOnes()
    {
        Assert.True(TypeNames.IsPair(typeof(KeyValuePair<string, int>)));
        Assert.False(TypeNames.IsPair(typeof((string, int))));
        Assert.False(TypeNames.IsPair(typeof(int)));
    }

    [Fact]
    public void IsAnonymous_NameOrMarkAlone_AreNotEnough()
    {
        Assert.True(TypeNames.IsAnonymous(new { A = 1 }.GetType()));
        Assert.False(TypeNames.IsAnonymous(typeof(NotAnonymousType)));
        Assert.False(TypeNames.IsAnonymous(typeof(Generated)));
        Assert.False(TypeNames.IsAnonymous(typeof(HeirOfAnonymousType)));
    }

    private sealed class NotAnonymousType;

    [CompilerGenerated]
    private class Generated;

    private sealed class HeirOfAnonymousType : Generated;

    private static class Outer<T>
    {
        public static class Inner<TOne, TOther>
        {
            public sealed class Deep;

            public static (T?, TOne?, TOther?) Use => default;
        }
    }
}
